package program

import (
	"fmt"

	"retrieverkeys/apikey"
)

// writeRules prints a rule file for the scanner that --rules names.
func (c *command) writeRules() error {
	text := gitleaksRules
	if c.cfg.Keys.Rules == "detect-secrets" {
		text = detectSecretsRules
	}
	_, err := fmt.Fprintf(c.stdout, text, apikey.Pattern)
	return err
}

// gitleaksRules is a configuration for gitleaks 8. Its regular expressions are RE2, which has no lookbehind, so the rule does not check the
// character before a key.
const gitleaksRules = `# Finds the API keys of retrieverkeys with gitleaks 8:
#   gitleaks dir --config FILE .
#   gitleaks git --config FILE .
# The rule checks the prefix and the form of a key but not its checksum, so it also reports texts that only look like keys.
# retrieverkeys keys scan FILE verifies the checksum and shows which keys are active.
title = "retrieverkeys"

# Keep the default rules of gitleaks. Without this table, only the rule below applies.
[extend]
useDefault = true

[[rules]]
id = "retrieverkeys-api-key"
description = "An API key of retrieverkeys. Anyone who has it can use it: revoke it."
regex = '''(%s)(?:[^0-9A-Za-z]|$)'''
secretGroup = 1
keywords = ["sk_"]
tags = ["key", "retrieverkeys"]
`

// detectSecretsRules is a plugin for detect-secrets 1.
const detectSecretsRules = `"""Finds the API keys of retrieverkeys with detect-secrets 1:

  detect-secrets scan --plugin FILE

The plugin checks the prefix, the form and the checksum of a key, so it does not report texts that only look like keys.
retrieverkeys keys scan FILE shows which keys are active.
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

    # A lookahead consumes nothing, so the expression also finds keys that directly follow each other.
    denylist = [re.compile(r"(?=(%s))")]

    def analyze_string(self, string):
        for text in super().analyze_string(string):
            if _checksum(text[:-_CHECKSUM_CHARS]) == text[-_CHECKSUM_CHARS:]:
                yield text
`
