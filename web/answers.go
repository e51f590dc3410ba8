package web

import (
	"context"
	"errors"
	"time"

	"retrieverkeys/apikey"

	"golang.org/x/sync/semaphore"
)

// Answers bounds the memory of responses from when they are made until they are sent. Short responses are exempt.
type Answers struct {
	bytes   int64
	free    *semaphore.Weighted
	wait    time.Duration
	refused func()
}

const (
	// answersBytes is the default size of Answers.
	answersBytes = 256 << 20
	// shortAnswer is the length up to which responses are exempt: the kernel buffers them without waiting for the client.
	shortAnswer = 64 << 10
)

// NewAnswers returns Answers of that size. It calls refused, unless that is nil, for each response that gets no memory.
func NewAnswers(bytes int64, refused func()) *Answers {
	if refused == nil {
		refused = func() {}
	}
	return &Answers{bytes: bytes, free: semaphore.NewWeighted(bytes), wait: 500 * time.Millisecond, refused: refused}
}

// Take takes memory and reports whether there is enough. It waits briefly, because most responses are sent soon.
func (a *Answers) Take(ctx context.Context, bytes int64) bool {
	if a.free.TryAcquire(bytes) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, a.wait)
	defer cancel()
	if a.free.Acquire(ctx, bytes) == nil {
		return true
	}
	if !errors.Is(ctx.Err(), context.Canceled) { // a client that left was not refused
		a.refused()
	}
	return false
}

// Give returns memory.
func (a *Answers) Give(bytes int64) { a.free.Release(bytes) }

// pageBytes is the memory that a page of a list takes from Answers, at most all of it. Short pages take none.
func (a *Answers) pageBytes(page []apikey.Key) int64 {
	return min(max(0, int64(bytesOf(page))-shortAnswer), a.bytes)
}

// await takes memory for a response that has begun. It waits until the deadline, because giving up would waste the work that is already done.
func (a *Answers) await(ctx context.Context, timeout time.Duration, bytes int64) error {
	ctx, cancel := onward(ctx, timeout)
	defer cancel()
	if a.free.Acquire(ctx, bytes) != nil {
		return overloaded()
	}
	return nil
}

// bytesOf is the approximate memory of keys.
func bytesOf(page []apikey.Key) int {
	sum := 0
	for i := range page {
		sum += page[i].Size()
	}
	return sum
}
