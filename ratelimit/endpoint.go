package ratelimit

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// endpoint is a parsed Redis URL.
type endpoint struct {
	address            string
	tls                *tls.Config // nil without TLS
	username, password string
	database           int
}

// CheckURL returns an error if NewRedis does not accept the URL.
func CheckURL(url string) error {
	_, err := parse(url)
	return err
}

// parse parses a Redis URL. Errors never repeat any part of the URL, because it can contain a password. An unescaped password can turn into
// other parts of the URL, such as a fragment, so parts without a meaning here are refused instead of ignored.
func parse(from string) (*endpoint, error) {
	const form = "must be a URL such as redis://user:password@host:6379/0, or rediss:// for TLS" //nolint:gosec // an example, no credentials
	u, err := url.Parse(from)
	if err != nil || !strings.HasPrefix(from, "redis://") && !strings.HasPrefix(from, "rediss://") {
		return nil, errors.New(form + ", with special characters of the password percent-encoded")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New(form + ": it takes no parameters and no fragment; percent-encode ? and # in the password")
	}
	host, port := cmp.Or(u.Hostname(), "localhost"), cmp.Or(u.Port(), "6379")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, errors.New(form + ": its port must be a number from 1 to 65535")
	}
	e := &endpoint{address: net.JoinHostPort(host, port), username: u.User.Username()}
	e.password, _ = u.User.Password()
	if database := strings.Trim(u.Path, "/"); database != "" {
		n, err := strconv.ParseUint(database, 10, 31)
		if err != nil {
			return nil, errors.New(form + ": its database must be a number")
		}
		e.database = int(n)
	}
	if u.Scheme == "rediss" {
		e.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	return e, nil
}

// dial connects, authenticates, and selects the database. The context limits all of this, including the TLS handshake.
func (e *endpoint) dial(ctx context.Context) (redis.Conn, error) {
	connect := (&net.Dialer{}).DialContext
	if e.tls != nil {
		connect = (&tls.Dialer{Config: e.tls}).DialContext
	}
	return redis.DialContext(ctx, "tcp", e.address, redis.DialContextFunc(connect), redis.DialReadTimeout(timeout), redis.DialWriteTimeout(timeout),
		redis.DialUsername(e.username), redis.DialPassword(e.password), redis.DialDatabase(e.database))
}

// check returns an error if an idle connection can no longer be used, because Redis may have closed it. A refused PING is not an error: the
// connection works, and the user only lacks the right to PING.
func check(ctx context.Context, conn redis.Conn, used time.Time) error {
	if time.Since(used) > unchecked {
		_, _ = redis.DoContext(conn, ctx, "PING")
	}
	return conn.Err()
}
