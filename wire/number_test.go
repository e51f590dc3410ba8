package wire

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

// WholeNumber agrees with arbitrary-precision arithmetic.
func FuzzWholeNumber(f *testing.F) {
	for _, text := range []string{"0", "-0.0e7", "3.0", "30e-1", "-9223372036854775808", "9223372036854775807.5", "92233720368547758070E-1", "0.5", "1e18", "1e19", "0e99999999999999999999", "1E-9223372036854775808"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || strings.Trim(text, "-+.0123456789Ee") != "" {
			return
		}
		got, whole := WholeNumber(json.Number(text))
		digits, exponent, _ := strings.Cut(strings.ToLower(text), "e")
		if len(strings.TrimLeft(exponent, "+-0")) > 4 { // too much for arbitrary precision
			if zero := strings.Trim(digits, "-0.") == ""; whole != zero && len(digits) < 1000 || got != 0 && zero {
				t.Errorf("%s: %d, %t", text, got, whole)
			}
			return
		}
		want, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is not a number", text)
		}
		if isWhole := want.IsInt() && want.Num().IsInt64(); whole != isWhole || whole && got != want.Num().Int64() {
			t.Errorf("%s: %d, %t, not %s", text, got, whole, want)
		}
	})
}
