package programtest

import (
	"bufio"
	"bytes"
	"strings"
	"sync"
)

// Buffer is an io.Writer for concurrent use that can wait for a line.
type Buffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines chan string
}

// NewBuffer returns an empty buffer.
func NewBuffer() *Buffer { return &Buffer{lines: make(chan string, 1000)} }

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	scan := bufio.NewScanner(bytes.NewReader(p))
	for scan.Scan() {
		select {
		case b.lines <- scan.Text():
		default: // the channel is full, so no test is waiting
		}
	}
	if b.text.Len() > 16<<20 { // the log of a long soak test
		b.text.Reset()
	}
	return b.text.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Await returns the first line that contains part, or "" if ended is closed before.
func (b *Buffer) Await(part string, ended <-chan struct{}) string {
	for {
		select {
		case line := <-b.lines:
			if strings.Contains(line, part) {
				return line
			}
		case <-ended:
			return ""
		}
	}
}
