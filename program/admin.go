package program

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"retrieverkeys/telemetry"
	"retrieverkeys/web"
)

// serveAdmin starts the listener for operators (metrics and profiles), unless ADMIN_ADDR is off. stop closes it.
func (c *command) serveAdmin(ctx context.Context, metrics *telemetry.Metrics) (stop func() error, err error) {
	if c.cfg.AdminAddr == "" {
		return func() error { return nil }, nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", c.cfg.AdminAddr)
	if err != nil {
		return nil, fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	server := &http.Server{Handler: web.NewAdminHandler(metrics.Handler(), c.cfg.AdminAddr, c.cfg.AdminHosts), ReadHeaderTimeout: readHeaderTimeout}
	go func() { _ = server.Serve(listener) }() // returns when the server is closed
	c.logger.InfoContext(ctx, "serving metrics", "url", urlOf(listener.Addr())+"/metrics")
	return server.Close, nil
}
