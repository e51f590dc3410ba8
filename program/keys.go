package program

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/web"
)

func (c *command) createKey(ctx context.Context) error {
	return c.inNamespace(ctx, func(ctx context.Context, w workspace) error {
		made, err := w.service.Create(ctx, w.caller, string(w.namespace.ID), c.cfg.Keys.Retriever, c.settings())
		if err != nil {
			return err
		}
		return c.writeMinted(made, nil)
	})
}

// settings returns the settings that the flags of keys create give.
func (c *command) settings() apikey.Settings {
	a := &c.cfg.Keys
	return apikey.Settings{
		Name:        apikey.Optional[string]{Given: a.Name != nil, Value: a.Name},
		Description: apikey.Given(&a.Description), ExpiresAt: apikey.Given(a.ExpiresAt),
		AllowedOrigins: apikey.Given(&a.Origins), RateLimitOverride: apikey.Given(a.RateLimit),
	}
}

func (c *command) rotateKey(ctx context.Context) error {
	return c.inNamespace(ctx, func(ctx context.Context, w workspace) error {
		r, err := w.service.Rotate(ctx, w.caller, string(w.namespace.ID), apikey.ID(c.cfg.Operands[0]), c.cfg.Keys.Overlap, c.cfg.Keys.ExpiresAt)
		if err != nil {
			return err
		}
		return c.writeMinted(&r.Minted, &r.Previous)
	})
}

// writeMinted prints a new key with its plaintext and, after a rotation, the key that it replaces.
func (c *command) writeMinted(m *apikey.Minted, previous *apikey.Key) error {
	if c.cfg.JSON {
		return unseen(m.Key.ID, c.writeJSON(web.Key{Of: &m.Key, Secret: &m.Secret, Previous: previous}))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  Key      %s  %s\n", m.Key.ID, printable(m.Key.Name))
	fmt.Fprintf(&b, "  Secret   %s\n", m.Secret.Reveal())
	if previous != nil {
		fmt.Fprintf(&b, "  Replaces %s, which %s\n", printable(string(previous.ID)), fate(previous))
	}
	b.WriteString("\n  The secret is shown only once. Store it in a safe place.\n")
	_, err := io.WriteString(c.stdout, b.String())
	return unseen(m.Key.ID, err)
}

// unseen turns the error of writing a new key into one that says that its plaintext is lost.
func unseen(id apikey.ID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the key %s was created, but its plaintext could not be printed and is lost: revoke it and create another (%v)", id, err) //nolint:errorlint // must not match errOutputClosed, which is not a failure
}

// fate describes how long the replaced key stays valid.
func fate(k *apikey.Key) string {
	switch {
	case k.Status == apikey.Revoked:
		return "is revoked"
	case k.ExpiresAt != nil:
		return "works until " + k.ExpiresAt.Format(time.RFC3339)
	default:
		return "stays active"
	}
}
