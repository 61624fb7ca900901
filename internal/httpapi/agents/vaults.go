package agents

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/vault"
)

// checkVaults refuses vaults that the project does not have.
func (a *api) checkVaults(c *httpapi.Call, ids []string) error {
	for i, id := range ids {
		var missing *vault.NotFoundError
		err := a.CheckVault(c.Context(), c.Project, id)
		if errors.As(err, &missing) {
			return httpapi.Invalid(fmt.Sprintf("vault_ids[%d]", i), "No vault found with id '"+id+"'.")
		}
		if err != nil {
			return fmt.Errorf("look for vault %s: %w", id, err)
		}
	}
	return nil
}

// needsVault refuses an agent that names a credential where there is no vault to
// find it in.
func needsVault(agent *event.Agent, vaults []string) error {
	for i := range agent.Tools {
		if id := agent.Tools[i].CredentialID; id != "" && len(vaults) == 0 {
			return httpapi.Invalid(fmt.Sprintf("agent.tools[%d].credential_id", i),
				"The session has no vault that the credential '"+id+"' could be in. Name its vault in vault_ids.")
		}
	}
	return nil
}

// together is what either list has, once.
func together(a, b []string) []string {
	var out []string
	for _, id := range slices.Concat(a, b) {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}
