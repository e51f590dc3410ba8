package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// workspace is a namespace in which an operator runs a command.
type workspace struct {
	engine    store.Engine
	service   *apikey.Service
	caller    apikey.Caller
	namespace *apikey.Namespace
}

// inNamespace calls f with the namespace that --namespace names.
func (c *command) inNamespace(ctx context.Context, f func(context.Context, workspace) error) error {
	return c.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		ns, err := c.namespace(ctx, engine)
		if err != nil {
			return err
		}
		return f(ctx, c.workspace(engine, ns))
	})
}

// workspace returns a workspace in which the policy of the settings applies.
func (c *command) workspace(engine store.Engine, ns *apikey.Namespace) workspace {
	w := newWorkspace(engine, ns)
	w.service.Policy = apikey.Policy(c.cfg.Policy)
	return w
}

func newWorkspace(engine store.Engine, ns *apikey.Namespace) workspace {
	return workspace{engine: engine, service: &apikey.Service{Store: engine}, caller: apikey.NewOperator(operator(), *ns), namespace: ns}
}

// namespace returns the namespace that --namespace names, in the organization that --organization names, if that is given.
func (c *command) namespace(ctx context.Context, engine store.Engine) (*apikey.Namespace, error) {
	found, err := engine.NamespacesCalled(ctx, c.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	if c.cfg.Organization != "" {
		in, err := c.organizations(ctx, engine)
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(found, func(n apikey.Namespace) bool { return n.InternalID != in[0].InternalID })
	}
	return theNamespace(ctx, engine, found, c.cfg.Namespace)
}

// theNamespace returns the namespace with this id or, if there is none, with this name. It refuses a reference that several organizations use,
// because either could be meant.
func theNamespace(ctx context.Context, engine store.Engine, found []apikey.Namespace, ref string) (*apikey.Namespace, error) {
	if same := slices.DeleteFunc(slices.Clone(found), func(n apikey.Namespace) bool { return string(n.ID) != ref }); len(same) > 0 {
		found = same
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no namespace \"%s\"", ref)
	}
	byID := func(a, b apikey.Namespace) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(found, byID)
	if slices.ContainsFunc(found, func(n apikey.Namespace) bool { return n.InternalID != found[0].InternalID }) {
		several := []error{fmt.Errorf("several organizations have a namespace \"%s\": use one of these ids", ref)}
		named, err := withOrganizations(ctx, engine, found)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(named, byID)
		for _, n := range named {
			several = append(several, detail(fmt.Sprintf("  %s   of %s", n.ID, organization(&n))))
		}
		return nil, errors.Join(several...)
	}
	return &found[0], nil
}

// organization returns the name of the namespace's organization or, if it has none, its internal id.
func organization(n *apikey.Namespace) string {
	return cmp.Or(orEmpty(n.OrganizationName), string(n.InternalID))
}

// operator returns the name of the user who runs the command, or the user's number if the system has no name for it. It ignores the
// environment, in which anyone can set any name.
func operator() string {
	if name := systemUser(); name != "" {
		return name
	}
	return "uid " + strconv.Itoa(os.Getuid())
}
