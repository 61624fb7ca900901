package router

import "strings"

// Endpoint returns the provider of a model, and the id that the model has there,
// for what asks it something else than Model does. The name and the errors are as
// with Resolve.
func (r *Router) Endpoint(name string) (p ProviderConfig, id string, err error) {
	candidates, err := r.Resolve(name)
	if err != nil {
		return ProviderConfig{}, "", err
	}
	provider, _, _ := strings.Cut(candidates[0].Name, "/")
	return r.providers[provider].ProviderConfig, candidates[0].ID, nil
}
