package program_test

import (
	"testing"

	"retrieverkeys/program/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m) }
