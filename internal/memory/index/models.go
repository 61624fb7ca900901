package index

import "slices"

// Models lists the models that made the vectors of the space's records, by name.
// It is quick as long as few records were given vectors of other models.
func (s *Space) Models() []string {
	var models []string
	for _, p := range s.view.Load().parts {
		for g := range p.groups {
			group := &p.groups[g]
			if !slices.Contains(models, group.model) && group.alive(p.replaced) {
				models = append(models, group.model)
			}
		}
	}
	slices.Sort(models)
	return models
}

// alive reports whether a document with a vector of the group is not replaced.
func (g *vectorGroup) alive(replaced bitmap) bool {
	for i := range g.n {
		if !replaced.has(g.doc(i)) {
			return true
		}
	}
	return false
}
