package apikey

import (
	"errors"
	"flag"
	"os"
	"testing"
	"time"
)

// TestMain has every property tried more often than rapid would: the cases are small, and so are the faults.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "1000"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// noon is the instant at which the tests take place.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// at is n seconds after noon.
func at(seconds int) *time.Time {
	t := noon.Add(time.Duration(seconds) * time.Second)
	return &t
}

// codeOf is the code of an error that the domain itself made; empty where there is none.
func codeOf(t *testing.T, err error) Code {
	t.Helper()
	if err == nil {
		return ""
	}
	e := &Error{}
	ok := errors.As(err, &e)
	if !ok {
		t.Fatalf("got the foreign error %v", err)
	}
	return e.Code
}
