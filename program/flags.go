package program

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"retrieverkeys/apikey"
)

// wrongFlags returns an error for each flag whose value the domain refuses without looking at the store. The command checks the flags again when it
// runs.
func (c *command) wrongFlags() []error {
	k, now := &c.cfg.Keys, time.Now()
	var found []error
	switch c.cfg.Command {
	case "bootstrap":
		for _, f := range []struct{ flag, text string }{{"organization", c.cfg.Organization}, {"namespace", c.cfg.Namespace}, {"email", c.cfg.Email}} {
			if apikey.HoldsKey(f.text) {
				found = append(found, fmt.Errorf("--%s must not contain an API key", f.flag))
			}
		}
	case "keys list":
		filter := c.listOptions(k.Filter.Search).Filter
		found = filter.Check()
	case "keys create":
		found = c.settings().Check(now)
	case "keys rotate":
		found = append(apikey.Settings{ExpiresAt: apikey.Given(k.ExpiresAt)}.Check(now), apikey.CheckOverlap(k.Overlap))
	case "keys revoke":
		found = []error{apikey.CheckReason(k.Reason)}
	}
	return slices.DeleteFunc(found, func(err error) bool { return err == nil })
}

// flags maps the fields of the API to flags of the command line.
var flags = map[string]string{
	"name": "--name", "description": "--description", "expiresAt": "--expires-at", "allowedOrigins": "--origin",
	"rateLimitOverride": "--rate-limit", "overlapSeconds": "--overlap", "reason": "--reason",
}

// filterFlags replaces the fields of ApiKeyFilter by flags.
var filterFlags = strings.NewReplacer("createdAfter", "--created-after", "createdBefore", "--created-before", "expiresAfter", "--expires-after", "expiresBefore", "--expires-before",
	"The search text", "--search")

// inFlags returns the message of the domain's error with the names of flags in place of the API's names of fields.
func inFlags(e *apikey.Error) string {
	switch {
	case flags[e.Field] != "":
		return strings.ReplaceAll(e.Message, e.Field, flags[e.Field])
	case strings.HasPrefix(e.Field, "filter."):
		return filterFlags.Replace(e.Message)
	default:
		return e.Message
	}
}
