package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func parsed(env map[string]string) (Config, string) {
	c, problems := Parse(nil, func(name string) string { return env[name] })
	return c, fmt.Sprint(problems)
}

// Without this, an operator's lifetimes mean something else than they say, or a mistake starts a server without them.
func TestLifetimeSettings(t *testing.T) {
	hours := func(n int) time.Duration { return time.Duration(n) * time.Hour }
	for value, want := range map[string]time.Duration{
		"90d": hours(90 * 24), "36h": hours(36), "1d12h": hours(36), "2d30m": hours(48) + 30*time.Minute, "1s": time.Second, "24855d": hours(24855 * 24),
	} {
		c, problems := parsed(map[string]string{"KEY_MAX_LIFETIME": value})
		if problems != "[]" || c.Policy.MaxLifetime != want {
			t.Errorf("%s: got %v %s, want %v", value, c.Policy.MaxLifetime, problems, want)
		}
	}
	const form, zero, long = "a duration in whole seconds, such as 90d, 36h or 1d12h", "greater than zero", "at most 24855d"
	for problem, values := range map[string][]string{
		form: {
			"-1h", "-1d", "1", "d", "1.5d", "90D", "1d-1h", "1d24h", "12h1d", "90d ", "1500ms", "1d1ms", "x", "-9999999h", "-99999999999d", "9999999", "9999999x", "99999999999dx",
			"99999999999d24h", "1d9999999h", "99999999999", "+",
		},
		zero: {"0", "0d"},
		long: {
			"24856d", "65535d", "65536d", "99999d", "99999999999d", "99999999999999999999999d", "65536d1h", "24855d23h", "600000h", "9999999h", "+9999999h", "9999999.5h",
			"99999999999999999999999s", "1h9999999h",
		},
	} {
		for _, value := range values {
			for _, name := range []string{"KEY_DEFAULT_LIFETIME", "KEY_MAX_LIFETIME", "KEY_STALE_AFTER", "KEY_EXPIRY_NOTICE"} {
				if name == "KEY_EXPIRY_NOTICE" && problem == zero {
					continue // it is off
				}
				c, problems := parsed(map[string]string{name: value})
				if problems != fmt.Sprintf("[%s=%q must be %s]", name, value, problem) {
					t.Errorf("%s=%s: %v, %s, want %s", name, value, c.Policy, problems, problem)
				}
			}
		}
	}
	if c, problems := parsed(map[string]string{"KEY_EXPIRY_NOTICE": "0"}); problems != "[]" || c.Policy.ExpiryNotice != 0 {
		t.Errorf("off: %v %s", c.Policy, problems)
	}
}

// Settings that contradict each other are reported together with all other problems. An unset notice adapts to a short
// maximum and a short default: without that, every key made with the default expires soon from its first day, and none has an event.
func TestLifetimesThatMakeNoSenseTogether(t *testing.T) {
	d := 24 * time.Hour
	for _, tt := range []struct {
		defaults, most, notice string
		want                   Policy
		problems               int
	}{
		{"", "", "", Policy{0, 0, 90 * d, 14 * d}, 0},
		{"30d", "90d", "", Policy{30 * d, 90 * d, 90 * d, 14 * d}, 0},
		{"90d", "90d", "89d", Policy{90 * d, 90 * d, 90 * d, 89 * d}, 0},
		{"90d", "90d", "90d", Policy{90 * d, 90 * d, 90 * d, 90 * d}, 0},
		{"90d", "90d", "2160h1s", Policy{}, 1},
		{"", "7d", "", Policy{0, 7 * d, 90 * d, 7 * d / 2}, 0},
		{"7d", "", "", Policy{7 * d, 0, 90 * d, 7 * d / 2}, 0},
		{"7d", "20d", "", Policy{7 * d, 20 * d, 90 * d, 7 * d / 2}, 0},
		{"28d", "", "", Policy{28 * d, 0, 90 * d, 14 * d}, 0},
		{"7d", "", "14d", Policy{7 * d, 0, 90 * d, 14 * d}, 0},
		{"7d", "90d", "0", Policy{7 * d, 90 * d, 90 * d, 0}, 0},
		{"", "1s", "", Policy{0, time.Second, 90 * d, 0}, 0},
		{"", "7d", "0", Policy{0, 7 * d, 90 * d, 0}, 0},
		{"", "", "900d", Policy{0, 0, 90 * d, 900 * d}, 0},
		{"91d", "90d", "", Policy{}, 1},
		{"", "7d", "14d", Policy{}, 1},
		{"8d", "7d", "14d", Policy{}, 2},
	} {
		env := map[string]string{"KEY_DEFAULT_LIFETIME": tt.defaults, "KEY_MAX_LIFETIME": tt.most, "KEY_EXPIRY_NOTICE": tt.notice}
		c, problems := Parse(nil, func(name string) string { return env[name] })
		if len(problems) != tt.problems || tt.problems == 0 && c.Policy != tt.want {
			t.Errorf("%v: got %v %v, want %v and %d problems", env, c.Policy, problems, tt.want, tt.problems)
		}
		env["LOG_LEVEL"] = "loud"
		if _, all := Parse(nil, func(name string) string { return env[name] }); len(all) != tt.problems+1 {
			t.Errorf("%v: not all problems are reported: %v", env, all)
		}
	}
}

// Events must be kept longer than the notice: otherwise an event that a key expires soon would be stored, deleted and stored again. A typo must not
// start a server that deletes what it should keep.
func TestAuditRetention(t *testing.T) {
	for _, tt := range []struct {
		days, notice string
		want         int
		problem      string
	}{
		{"", "", 0, ""},
		{"off", "", 0, ""},
		{"15", "", 15, ""},
		{"36500", "", 36500, ""},
		{"1", "0", 1, ""},
		{"90", "89d", 90, ""},
		{"14", "", 0, "must be longer than KEY_EXPIRY_NOTICE"},
		{"90", "90d", 0, "must be longer than KEY_EXPIRY_NOTICE"},
		{"0", "0", 0, "must be off or a number of days from 1 to 36500"},
		{"36501", "", 0, "must be off"},
		{"90d", "", 0, "must be off"},
		{"OFF", "", 0, "must be off"},
	} {
		c, problems := parsed(map[string]string{"AUDIT_RETENTION_DAYS": tt.days, "KEY_EXPIRY_NOTICE": tt.notice})
		if tt.problem == "" && (problems != "[]" || c.AuditDays != tt.want) || !strings.Contains(problems, tt.problem) {
			t.Errorf("%s days, notice %q: got %d, %s, want %d, %q", tt.days, tt.notice, c.AuditDays, problems, tt.want, tt.problem)
		}
	}
}
