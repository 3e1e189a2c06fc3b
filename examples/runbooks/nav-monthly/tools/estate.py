"""The invented property behind the sample data: leases, chart of accounts and opening balances.

Amounts are whole pence. Everything here is made up; nothing is random, so the files can be made again.
"""

from __future__ import annotations

from dataclasses import dataclass

COMPANY = "Kestrel Court Property Limited"

_FIRST = ["Alder", "Birch", "Calder", "Dunmore", "Elm & Vale", "Fenwick", "Garrick", "Hollins", "Ivory",
          "Jessop", "Kirkby", "Larch", "Marlow"]  # fmt: skip
_TRADE = ["Joinery Ltd", "Dental Practice", "Logistics UK Ltd", "Print & Sign", "Coffee Roasters",
          "Mortgage Advice LLP", "Cycles Ltd", "Opticians"]  # fmt: skip


@dataclass(frozen=True)
class Lease:
    ref: str
    unit: str
    tenant: str
    rent: int
    parking: int
    agent: bool


def leases() -> list[Lease]:
    """104 units in blocks A to H; the managing agent collects the rent of G and H."""
    found = []
    for index in range(104):
        block, number = "ABCDEFGH"[index // 13], index % 13 + 1
        rent = 85_000 + (index * 7_919 % 61) * 8_750 + (index % 4) * 1_225
        parking = 12_500 if index % 13 == 5 else 0
        name = f"{_FIRST[index % 13]} {_TRADE[index // 13]}"
        found.append(
            Lease(f"KC-{block}{number:02d}", f"Unit {block}{number}", name, rent, parking, block in "GH")
        )
    return found


# code, name, type, opening balance at 1 September in pence (debit positive). 3100 takes the difference.
CHART: list[tuple[str, str, str, int]] = [
    ("0010", "Investment property - cost", "Fixed Asset", 4_850_000_000),
    ("0015", "Investment property - acquisition costs", "Fixed Asset", 268_412_075),
    ("0020", "Investment property - fair value adjustment", "Fixed Asset", 614_250_000),
    ("0025", "Lease incentives - rent-free spreading", "Fixed Asset", 18_745_033),
    ("0030", "Letting fees - unamortised", "Fixed Asset", 7_310_842),
    ("0040", "Plant and machinery - cost", "Fixed Asset", 42_600_000),
    ("0041", "Plant and machinery - depreciation", "Fixed Asset", -11_360_000),
    ("0050", "Fixtures and fittings - cost", "Fixed Asset", 9_875_000),
    ("0051", "Fixtures and fittings - depreciation", "Fixed Asset", -3_291_667),
    ("1100", "Tenant arrears", "Current Asset", 0),
    ("1101", "Bad debt provision", "Current Asset", -1_875_000),
    ("1105", "Service charge debtors", "Current Asset", 3_418_290),
    ("1110", "Insurance recharges receivable", "Current Asset", 1_260_455),
    ("1120", "Accrued income", "Current Asset", 2_480_000),
    ("1130", "Prepayments - insurance", "Current Asset", 6_120_000),
    ("1131", "Prepayments - other", "Current Asset", 894_017),
    ("1140", "VAT on purchases", "Current Asset", 1_044_316),
    ("1150", "Other debtors", "Current Asset", 317_250),
    ("1200", "Bank - current account", "Bank", 48_217_764),
    ("1210", "Bank - tenant deposits", "Bank", 22_850_000),
    ("1220", "Bank - service charge", "Bank", 5_613_902),
    ("1230", "Bank - capital works reserve", "Bank", 31_500_000),
    ("2100", "Trade creditors", "Current Liability", -4_218_733),
    ("2110", "Accruals", "Current Liability", -2_950_000),
    ("2115", "Management fees payable", "Current Liability", -1_640_218),
    ("2120", "Rent received in advance", "Current Liability", -8_412_500),
    ("2130", "Tenant deposits repayable", "Current Liability", -22_850_000),
    ("2140", "VAT on sales", "Current Liability", -388_104),
    ("2150", "Corporation tax", "Current Liability", -9_475_200),
    ("2160", "Loan interest accrued", "Current Liability", -1_575_000),
    ("2170", "Service charge creditors", "Current Liability", -5_613_902),
    ("2180", "Other creditors", "Current Liability", -241_809),
    ("2190", "Intercompany - holding company", "Current Liability", -3_100_000),
    ("2300", "Mortgage - Northgate Bank", "Long Term Liability", -2_362_500_000),
    ("2310", "Loan arrangement fees - unamortised", "Long Term Liability", 18_600_000),
    ("2320", "Shareholder loan", "Long Term Liability", -450_000_000),
    ("2330", "Deferred tax", "Long Term Liability", -61_425_000),
    ("3000", "Share capital", "Equity", -500_000_000),
    ("3010", "Share premium", "Equity", -1_250_000_000),
    ("3100", "Retained earnings", "Equity", 0),
    ("3110", "Distributions paid", "Equity", 75_000_000),
    ("4000", "Rental income", "Revenue", -172_418_250),
    ("4010", "Service charge income", "Revenue", -21_340_815),
    ("4020", "Insurance recharges", "Revenue", -5_104_210),
    ("4030", "Turnover rent", "Revenue", -2_217_640),
    ("4040", "Lease surrender premiums", "Revenue", -3_500_000),
    ("4050", "Bank interest received", "Revenue", -418_922),
    ("4060", "Sundry income", "Revenue", -96_540),
    ("4070", "Wayleaves and advertising", "Revenue", -275_000),
    ("5000", "Collection fees deducted by agent", "Direct Cost", 2_180_415),
    ("5005", "Management fees", "Direct Cost", 8_620_913),
    ("5010", "Repairs and maintenance", "Direct Cost", 6_940_226),
    ("5020", "Insurance", "Direct Cost", 5_100_000),
    ("5030", "Utilities - common parts", "Direct Cost", 3_812_644),
    ("5040", "Security", "Direct Cost", 2_960_000),
    ("5050", "Cleaning", "Direct Cost", 2_235_500),
    ("5060", "Business rates - vacant units", "Direct Cost", 1_418_733),
    ("5070", "Letting fees", "Direct Cost", 1_125_000),
    ("5080", "Legal fees", "Overhead", 1_874_500),
    ("5090", "Landscaping", "Direct Cost", 685_000),
    ("5100", "Fire and health safety", "Direct Cost", 914_200),
    ("5110", "Lift maintenance", "Direct Cost", 742_650),
    ("5120", "Waste collection", "Direct Cost", 1_034_075),
    ("6000", "Audit and accountancy", "Overhead", 1_450_000),
    ("6010", "Administration fees", "Overhead", 1_250_000),
    ("6020", "Valuation fees", "Overhead", 975_000),
    ("6030", "Bank charges", "Overhead", 38_415),
    ("6040", "Company secretarial", "Overhead", 312_500),
    ("6050", "Directors' fees", "Overhead", 833_333),
    ("6060", "Bad debt expense", "Overhead", 187_500),
    ("6070", "Depreciation", "Overhead", 1_768_750),
    ("6100", "Loan interest", "Finance Cost", 49_612_500),
    ("6110", "Amortisation of arrangement fees", "Finance Cost", 1_550_000),
    ("6120", "Shareholder loan interest", "Finance Cost", 9_375_000),
    ("6200", "Fair value movement", "Revenue", -42_500_000),
    ("6300", "Corporation tax charge", "Tax", 4_737_600),
]

LOAN_INTEREST, LOAN_PRINCIPAL = 9_843_750, 4_406_250
MANAGEMENT_FEE_PERCENT, BAD_DEBT_PERCENT = 5, 2
