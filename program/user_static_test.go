//go:build !((cgo || darwin || windows) && !osusergo)

package program

import (
	"strings"
	"testing"
)

// A line of another user must not decide whom the audit trail names.
func TestUserIn(t *testing.T) {
	const passwd = "# 1001 is ada\nroot:x:0:0:root:/root:/bin/sh\n\n+nis:x:1001:1001::/:/bin/sh\n-nis:x:1001:1001::/:/bin/sh\n:x:1001:1001::/:/bin/sh\n" +
		"short:x:1001\n  ada:x:1001:1001:Ada, who is 1002:/home/ada:/bin/sh\ntwin:x:1001:1001::/:/bin/sh\ncob:x:10010:1001:1002:/:/bin/sh\nlast:x:7:7::/:/bin/sh"
	for uid, want := range map[int]string{0: "root", 1001: "ada", 10010: "cob", 7: "last", 1002: "", 100: "", 1: "", -1: ""} {
		if got := userIn(strings.NewReader(passwd), uid); got != want {
			t.Errorf("%d: %q, want %q", uid, got, want)
		}
	}
}
