package program

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"retrieverkeys/config"
	"retrieverkeys/graph"
)

// build identifies the source that the program was built from.
type build struct{ number, commit string }

// version returns the version and commit that the Go toolchain recorded. A build outside a release or a checkout has the version "devel"
// and the commit "unknown".
func version() build {
	b := build{number: "devel", commit: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.number = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.commit = s.Value
		}
	}
	return b
}

func (c *command) version(context.Context) error {
	v := version()
	_, err := fmt.Fprintf(c.stdout, "retrieverkeys %s\ncommit %s\n%s\n", v.number, v.commit, runtime.Version())
	return err
}

func (c *command) schema(context.Context) error {
	text := graph.SDL()
	if c.cfg.Federation != "" {
		text = graph.SubgraphSDL(c.cfg.Federation, c.cfg.FederationWith...)
	}
	_, err := io.WriteString(c.stdout, text)
	return err
}

func (c *command) completion(context.Context) error {
	return config.WriteCompletion(c.stdout, c.cfg.Operands[0])
}
