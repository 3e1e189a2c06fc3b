"""What activities and workflow code both change, each in processes of its own."""

COUNT = 0
MARK = "as imported"
SEEN = []
TABLE = {}
