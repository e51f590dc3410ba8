package wire

import (
	"encoding/json"
	"strconv"
	"strings"
)

// WholeNumber returns the value of a JSON number, and whether it is a whole number that fits into an int64. It moves the decimal point in the
// text: a float64 would round, and an exact number could take gigabytes for a short text such as 1e999999999.
func WholeNumber(text json.Number) (n int64, whole bool) {
	number, exponent, _ := strings.Cut(strings.ToLower(string(text)), "e")
	digits, fraction, _ := strings.Cut(strings.TrimPrefix(number, "-"), ".")
	significant := strings.TrimRight(digits+fraction, "0")
	if strings.Trim(significant, "0") == "" {
		return 0, true
	}
	shift := 0
	if exponent != "" {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil {
			return 0, false // no digits that fit into memory make up for such an exponent
		}
	}
	zeros := shift + len(digits) - len(significant)
	if zeros < 0 || zeros > maxDigits {
		return 0, false
	}
	sign := number[:len(number)-len(strings.TrimPrefix(number, "-"))]
	n, err := strconv.ParseInt(sign+significant+strings.Repeat("0", zeros), 10, 64)
	return n, err == nil
}

// maxDigits is the number of digits of the largest int64.
const maxDigits = 19
