package apikey

import (
	"errors"
	"flag"
	"os"
	"testing"
	"time"
)

// TestMain makes rapid check more cases of each property than by default. The cases are small, so this is cheap.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "1000"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// noon is the current time in these tests.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// at returns the time some seconds after noon.
func at(seconds int) *time.Time {
	t := noon.Add(time.Duration(seconds) * time.Second)
	return &t
}

// codeOf returns the code of an error of this package, or "" for nil.
func codeOf(t *testing.T, err error) Code {
	t.Helper()
	if err == nil {
		return ""
	}
	e := &Error{}
	ok := errors.As(err, &e)
	if !ok {
		t.Fatalf("got an error of another package: %v", err)
	}
	return e.Code
}
