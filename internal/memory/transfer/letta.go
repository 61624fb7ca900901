package transfer

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/stayd/stayd/internal/memory"
)

// letta reads an agent file: of the older layout, which is one agent, or of the
// newer, which has lists of agents, blocks, tools and files that name each other
// by id.
func (im *importer) letta(doc document) error {
	o, err := newObject(doc.raw, doc.at)
	if err != nil {
		return err
	}
	if !o.has("agents") {
		if !o.has("core_memory") && !o.has("messages") {
			return fmt.Errorf("%s has neither agents nor core_memory: this is no agent file", o.at)
		}
		return im.agent(o, doc)
	}
	blocks, agents := o.list("blocks"), o.list("agents")
	passages := append(o.list("passages"), o.list("archival_passages")...)
	if err := o.fault(); err != nil {
		return err
	}
	if err := im.each(blocks, doc.in("blocks"), im.block); err != nil {
		return err
	}
	for i, raw := range agents {
		at := document{at: doc.in(fmt.Sprintf("agents[%d]", i))}
		agent, err := newObject(raw, at.at)
		if err != nil {
			return err
		}
		if err := im.agent(agent, at); err != nil {
			return err
		}
	}
	if err := im.each(passages, doc.in("passages"), im.passage); err != nil {
		return err
	}
	o.take("metadata")
	o.take("created_at")
	im.notMemory(o)
	return nil
}

// agent reads one agent: its blocks, its one session, its passages.
func (im *importer) agent(o *object, at document) error {
	a := lettaAgent{im: im, kind: o.text("agent_type"), replies: map[string]bool{}}
	a.session = im.session(o.text("name"), o.text("id"))
	blocks := append(o.list("core_memory"), o.list("memory_blocks")...)
	messages := o.list("messages")
	var passages []json.RawMessage
	for _, key := range []string{"passages", "archival_passages", "archival_memory"} {
		passages = append(passages, o.list(key)...)
	}
	for _, key := range []string{"block_ids", "created_at", "updated_at", "version"} {
		o.take(key) // they say nothing about what is remembered
	}
	if err := o.fault(); err != nil {
		return err
	}
	if err := im.each(blocks, at.in("core_memory"), im.block); err != nil {
		return err
	}
	if err := im.each(messages, at.in("messages"), a.message); err != nil {
		return err
	}
	if err := im.each(passages, at.in("passages"), im.passage); err != nil {
		return err
	}
	im.notMemory(o)
	return nil
}

// session names the session of an agent by the agent's name: its id is a number
// that agents of other files have too.
func (im *importer) session(name, id string) string {
	if name == "" || im.agents[name] {
		name += id
	}
	im.agents[name] = true
	return name
}

// notMemory reports what else an agent file has: it makes up an agent, and not
// what the agent remembers.
func (im *importer) notMemory(o *object) {
	kinds := map[string]string{
		"tools": "tools", "tool_rules": "tool rules", "tool_ids": "tools of an agent", "files": "files", "files_agents": "files that an agent has open",
		"sources": "sources of files", "groups": "groups of agents", "mcp_servers": "MCP servers", "identities": "identities",
		"in_context_message_ids": "which messages were in the context", "in_context_message_indices": "which messages were in the context",
		"tool_exec_environment_variables": "environment variables of tools", "system": "system prompts", "skills": "skills",
	}
	for _, name := range o.left() {
		what, ok := kinds[name]
		if !ok {
			im.lose("agent_setting", "settings of an agent", o.at+": "+clip(name))
			continue
		}
		var list []json.RawMessage
		if json.Unmarshal(o.fields[name], &list) != nil || name == "in_context_message_ids" || name == "in_context_message_indices" {
			im.lose(name, what, o.at)
			continue
		}
		for i, raw := range list {
			im.lose(name, what, fmt.Sprintf("%s: %s[%d]%s", o.at, name, i, nameOf(raw)))
		}
	}
}

func nameOf(raw json.RawMessage) string {
	var named map[string]json.RawMessage
	if json.Unmarshal(raw, &named) == nil {
		for _, key := range []string{"name", "tool_name", "server_name", "file_name", "key", "id"} {
			if !isNull(named[key]) {
				return " " + clip(plain(named[key]))
			}
		}
	}
	return ""
}

// block reads a block of core memory.
func (im *importer) block(o *object) error {
	rec := memory.Record{Strategy: memory.Core, Origin: memory.OriginAgent, Text: o.text("value"), Metadata: map[string]string{}}
	label := o.text("label")
	rec.Source.External = o.text("id")
	created, updated := o.time("created_at"), o.time("updated_at")
	o.metadata("metadata", rec.Metadata)
	o.metadata("metadata_", rec.Metadata)
	if limit := o.text("limit"); limit != "" {
		rec.Metadata["limit"] = limit
	}
	if description := o.text("description"); description != "" {
		rec.Metadata["description"] = description
	}
	if string(o.take("read_only")) == "true" {
		rec.Metadata["read_only"] = "true"
	}
	if err := o.fault(); err != nil {
		return err
	}
	if label == "" {
		return fmt.Errorf("%s: a block has a label, and this has none", o.at)
	}
	for _, flag := range []string{"is_template", "is_deleted", "preserve_on_migration", "hidden"} {
		if string(o.fields[flag]) == "false" {
			o.take(flag)
		}
	}
	im.unknown(o)
	rec.Source.Label = im.label(label, o.at)
	if rec.Source.External == "" {
		rec.Source.External = "block/" + rec.Source.Label
	}
	im.since(&rec, created, updated)
	return im.draft(rec, o.at)
}

// label makes a block's label one of its own, as the agents of a file may each
// have a block of the name.
func (im *importer) label(label, at string) string {
	own := label
	for n := 2; im.labels[own]; n++ {
		own = label + "_" + strconv.Itoa(n)
	}
	if own != label {
		im.lose("label", "labels that several blocks have: the later ones are numbered", at+": "+clip(label)+" became "+clip(own))
	}
	im.labels[own] = true
	return own
}

// passage reads a passage of archival memory.
func (im *importer) passage(o *object) error {
	rec := memory.Record{Strategy: memory.Semantic, Origin: memory.OriginAgent, Text: o.text("text"), Metadata: map[string]string{}}
	rec.Source.External = o.text("id")
	if rec.Source.External == "" {
		rec.Source.External = "passage/" + o.at
	}
	created, updated := o.time("created_at"), o.time("updated_at")
	o.metadata("metadata", rec.Metadata)
	o.metadata("metadata_", rec.Metadata)
	model := ""
	if config := o.object("embedding_config"); config != nil {
		model = config.text("embedding_model")
	}
	if o.take("embedding") != nil {
		im.lose("embedding", "embeddings, which are made anew", o.at+": "+clip(model))
	}
	if err := o.fault(); err != nil {
		return err
	}
	if string(o.fields["is_deleted"]) == "true" {
		im.lose("deleted", "passages that were deleted", o.at)
		return nil
	}
	o.take("is_deleted")
	for _, key := range []string{"organization_id", "agent_id", "archive_id", "created_by_id", "last_updated_by_id"} {
		o.take(key) // ids of the server that the file comes from
	}
	o.rest(rec.Metadata)
	im.since(&rec, created, updated)
	return im.draft(rec, o.at)
}
