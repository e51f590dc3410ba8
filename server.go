// Command retrieverkeys serves and manages API keys of retrievers. Everything but the handling of signals is in the package program.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"retrieverkeys/program"
)

func main() {
	// Go ends a process that writes to a closed pipe. The server must outlive the program that reads its log.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := program.Run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
