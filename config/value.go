package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ofFile is the suffix of settings that name a file with the value of another setting.
const ofFile = "_FILE"

// maxSecret is the maximum length of a setting in a file, in bytes.
const maxSecret = 64 << 10

// fromFile reads a setting from a file, such as a mounted secret. Errors never show the content of the file.
func fromFile(to *string) func(string) error {
	return func(path string) error {
		text, err := readSecret(path)
		if pathError, ok := errors.AsType[*fs.PathError](err); ok {
			return fmt.Errorf("cannot be read: %w", pathError.Err)
		}
		value := strings.TrimSpace(strings.TrimPrefix(string(text), "\ufeff"))
		switch {
		case err != nil:
			return fmt.Errorf("cannot be read: %w", err)
		case value == "":
			return errors.New("is empty")
		case len(text) > maxSecret || strings.ContainsAny(value, "\r\n"):
			return errors.New("must contain only the setting, on one line")
		}
		*to = value
		return nil
	}
}

// fileOrHTTPS takes the name of a file or an https URL.
func fileOrHTTPS(to *string) func(string) error {
	return func(s string) error {
		lower := strings.ToLower(s)
		if strings.Contains(s, "://") || strings.HasPrefix(lower, "http:") || strings.HasPrefix(lower, "https:") {
			if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Hostname() == "" {
				return errors.New("must be a file or an https URL")
			}
		}
		*to = s
		return nil
	}
}

// readSecret reads at most one byte more than a setting may have.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxSecret+1))
}

// name reads the name of an organization or a namespace. Clients send the latter in a header.
func name(to *string) func(string) error {
	return func(s string) error {
		switch {
		case s == "" || utf8.RuneCountInString(s) > 100:
			return errors.New("must have 1 to 100 characters")
		case strings.TrimSpace(s) != s:
			return errors.New("must not begin or end with a space")
		case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !Printable(r) }):
			return errors.New("must have printable characters only")
		}
		*to = s
		return nil
	}
}

func notEmpty(to *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("must not be empty")
		}
		*to = s
		return nil
	}
}

// list reads a comma-separated list.
func list(to *[]string) func(string) error {
	return func(s string) error {
		*to = members(s)
		return nil
	}
}

// members returns the members of a comma-separated list. It ignores empty ones, so a comma at the end does no harm.
func members(s string) (members []string) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			members = append(members, part)
		}
	}
	return members
}

// prefixes reads a list of addresses and CIDRs. An IPv6 address may be in brackets. IPv4-mapped IPv6 addresses become IPv4 addresses, like
// the client addresses that they are compared with.
func prefixes(to *[]netip.Prefix) func(string) error {
	return func(s string) error {
		for _, member := range members(s) {
			prefix, err := netip.ParsePrefix(member)
			address, addressErr := netip.ParseAddr(member)
			if strings.HasPrefix(member, "[") {
				var withPort netip.AddrPort
				withPort, addressErr = netip.ParseAddrPort(member + ":0")
				address = withPort.Addr()
			}
			if addressErr == nil {
				prefix, err = netip.PrefixFrom(address.WithZone(""), address.BitLen()), nil
			}
			if err != nil {
				return fmt.Errorf("must be a comma-separated list of addresses and CIDRs: %q is neither", member)
			}
			if prefix.Addr().Is4In6() && prefix.Bits() >= mappedBits {
				prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mappedBits)
			}
			*to = append(*to, prefix)
		}
		return nil
	}
}

// mappedBits is the length of the prefix of IPv4-mapped IPv6 addresses.
const mappedBits = 96

func choice(to *string, allowed ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(allowed, s) {
			return fmt.Errorf("must be %s", alternatives(allowed))
		}
		*to = s
		return nil
	}
}

// oneOf adds one of the allowed words to a list.
func oneOf(to *[]string, allowed []string) func(string) error {
	return func(s string) error {
		err := choice(new(string), allowed...)(s)
		if err == nil {
			*to = append(*to, s)
		}
		return err
	}
}

// instant reads a time, or a date, which begins at 00:00 UTC.
func instant(to **time.Time) func(string) error {
	return func(s string) error {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t, err = time.Parse(time.DateOnly, s)
		}
		if err != nil {
			return errors.New("must be a date such as 2026-11-01 or an RFC 3339 time such as 2026-11-01T03:00:00Z")
		}
		*to = &t
		return nil
	}
}

// switched reads on or off.
func switched(to *bool) func(string) error {
	return func(s string) error {
		*to = s == "on"
		return choice(new(string), "on", "off")(s)
	}
}

func positive[T cmp.Ordered](n T, err error, what string) error {
	var zero T
	if err != nil || n <= zero {
		return fmt.Errorf("must be %s greater than zero", what)
	}
	return nil
}

// addressOf reads host:port.
func addressOf(to *string) func(string) error {
	return func(s string) error {
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			return errors.New("must be host:port")
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return errors.New("must end in a port number")
		}
		*to = s
		return nil
	}
}

const lettersAndDigits = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// hosts reads a list of host names.
func hosts(to *[]string) func(string) error {
	return func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			part = strings.TrimSpace(part)
			if part == "" || strings.Trim(part, lettersAndDigits+"-._") != "" {
				return fmt.Errorf("must be a comma-separated list of host names without ports: %q is not one", part)
			}
			*to = append(*to, part)
		}
		return nil
	}
}
