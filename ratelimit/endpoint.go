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

// endpoint is what the URL of a Redis says.
type endpoint struct {
	address            string
	tls                *tls.Config // nil without TLS
	username, password string
	database           int
}

// CheckURL returns what is wrong with a URL for NewRedis.
func CheckURL(url string) error {
	_, err := parse(url)
	return err
}

// parse reads the URL of a Redis. An error never repeats any of the URL, because it may hold a password. What an unescaped password
// could turn into, such as a fragment, is refused rather than ignored.
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

// dial connects, and names the user and the database. The context limits all of it, the TLS handshake included.
func (e *endpoint) dial(ctx context.Context) (redis.Conn, error) {
	connect := (&net.Dialer{}).DialContext
	if e.tls != nil {
		connect = (&tls.Dialer{Config: e.tls}).DialContext
	}
	return redis.DialContext(ctx, "tcp", e.address, redis.DialContextFunc(connect), redis.DialReadTimeout(timeout), redis.DialWriteTimeout(timeout),
		redis.DialUsername(e.username), redis.DialPassword(e.password), redis.DialDatabase(e.database))
}

// check says whether a connection that was idle can be used. Redis may have closed it meanwhile. A refusal of PING is an answer,
// too: the user may have no right to it.
func check(ctx context.Context, conn redis.Conn, used time.Time) error {
	if time.Since(used) > unchecked {
		_, _ = redis.DoContext(conn, ctx, "PING")
	}
	return conn.Err()
}
