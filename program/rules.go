package program

import (
	"fmt"

	"retrieverkeys/apikey"
)

// keys scan --rules: rule files by which other scanners find keys.

// writeRules writes the rules for the scanner that the command line names. They are made from what apikey mints.
func (p *program) writeRules() error {
	text := gitleaksRules
	if p.cfg.Keys.Rules == "detect-secrets" {
		text = detectSecretsRules
	}
	_, err := fmt.Fprintf(p.stdout, text, apikey.Pattern)
	return err
}

// gitleaksRules are a configuration of gitleaks 8. Its expressions are RE2's, which cannot look behind, so the rule takes a key
// wherever it begins.
const gitleaksRules = `# Finds the API keys of retrieverkeys with gitleaks 8:
#   gitleaks dir --config FILE .
#   gitleaks git --config FILE .
# The rule knows the prefix and the form of a key, not its checksum: a text that looks like a key is reported too.
# retrieverkeys keys scan FILE checks the checksum and tells which keys are alive.
title = "retrieverkeys"

# The rules of gitleaks stay in force. Without this table, only the rule below applies.
[extend]
useDefault = true

[[rules]]
id = "retrieverkeys-api-key"
description = "An API key of retrieverkeys. Whoever has it may use what it was made for: revoke it."
regex = '''(%s)(?:[^0-9A-Za-z]|$)'''
secretGroup = 1
keywords = ["sk_"]
tags = ["key", "retrieverkeys"]
`

// detectSecretsRules are a plugin of detect-secrets 1.
const detectSecretsRules = `"""Finds the API keys of retrieverkeys with detect-secrets 1:

  detect-secrets scan --plugin FILE

The plugin checks the prefix, the form and the checksum of a key, so it does not report a text that only looks like one.
retrieverkeys keys scan FILE tells which keys are alive.
"""
import re
import zlib

from detect_secrets.plugins.base import RegexBasedDetector

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM_CHARS = 6


def _checksum(text):
    n, out = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_CHARS):
        n, digit = divmod(n, len(_BASE62))
        out = _BASE62[digit] + out
    return out


class RetrieverkeysDetector(RegexBasedDetector):
    """An API key of retrieverkeys."""

    secret_type = "retrieverkeys API key"

    # Keys may follow each other closely, so the expression looks ahead instead of taking what it finds.
    denylist = [re.compile(r"(?=(%s))")]

    def analyze_string(self, string):
        for text in super().analyze_string(string):
            if _checksum(text[:-_CHECKSUM_CHARS]) == text[-_CHECKSUM_CHARS:]:
                yield text
`
