"""What licenses.py allows."""

from __future__ import annotations

import pytest
from licenses import check, satisfied


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("GPL-3.0 OR MIT", True),
        ("GPL-3.0/MIT", True),
        ("MIT AND GPL-3.0", False),
        ("(MIT OR GPL-3.0) AND ISC", True),
        ("MIT OR GPL-3.0 AND GPL-2.0", True),
        ("Apache-2.0 WITH LLVM-exception", False),
    ],
)
def test_licence_expressions(expression: str, allowed: bool) -> None:
    assert satisfied(expression, {"MIT", "ISC", "Apache-2.0"}) is allowed


def test_crates_that_break_a_rule_are_named() -> None:
    index = "https://example.com/index"
    rules = {
        "licenses": {"allow": ["MIT"], "exceptions": [{"crate": "data", "allow": ["CC0"]}, {"crate": "gone", "allow": []}]},
        "bans": {"deny": [{"crate": "openssl", "reason": "rustls is used"}]},
        "sources": {"allow-registry": [index]},
    }
    here = f"registry+{index}"
    found = [
        ("ours", "MIT", None),
        ("good", "MIT", here),
        ("data", "CC0", here),
        ("bad", "GPL-3.0", here),
        ("bare", None, here),
        ("openssl", "MIT", here),
        ("fork", "MIT", "git+https://example.com/fork"),
    ]
    packages = [{"name": n, "version": "1.0.0", "license": licence, "source": source} for n, licence, source in found]
    assert check(rules, packages) == [
        "bad 1.0.0: licence GPL-3.0 is not in deny.toml",
        "bare 1.0.0: states no licence",
        "deny.toml: the exception for gone is for no crate that is compiled in",
        "fork 1.0.0: comes from git+https://example.com/fork",
        "openssl 1.0.0: banned: rustls is used",
    ]
