package bedrock

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	smithydocument "github.com/aws/smithy-go/document"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/claude"
	"github.com/stayd/stayd/internal/model/failure"
	"github.com/stayd/stayd/internal/model/transcript"
)

// schemaName is the name of the format that structured output is asked for by.
const schemaName = "response"

func converseInput(req *model.Request) (*bedrockruntime.ConverseStreamInput, error) {
	in := &bedrockruntime.ConverseStreamInput{ModelId: aws.String(req.Model)}
	f := familyOf(req.Model)
	maxTokens := req.MaxOutputTokens
	if maxTokens <= 0 && f.claude {
		maxTokens = claude.MaxTokens(req.Model)
	}
	if maxTokens > 0 {
		in.InferenceConfig = &types.InferenceConfiguration{MaxTokens: aws.Int32(int32(min(maxTokens, math.MaxInt32)))}
	}
	switch req.ServiceTier {
	case "", "auto":
	case "default", "flex", "priority":
		in.ServiceTier = &types.ServiceTier{Type: types.ServiceTierType(req.ServiceTier)}
	default:
		return nil, failure.Invalid("service_tier %q is not offered by Bedrock: it is auto, default, flex or priority", req.ServiceTier)
	}
	if text := system(req); text != "" {
		in.System = []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: text}}
		if f.cache {
			in.System = append(in.System, &types.SystemContentBlockMemberCachePoint{Value: cachePoint})
		}
	}
	if err := setTools(in, req, f); err != nil {
		return nil, err
	}
	if err := setFormat(in, &req.Text); err != nil {
		return nil, err
	}
	turns := transcript.Turns(req.Items)
	if err := setReasoning(in, req, f, turns, maxTokens); err != nil {
		return nil, err
	}
	var err error
	if in.Messages, err = messageList(req.Model, f, turns); err != nil {
		return nil, err
	}
	if f.cache {
		markMessages(in.Messages)
	}
	return in, nil
}

var cachePoint = types.CachePointBlock{Type: types.CachePointTypeDefault}

// family is what is known of the models by the name of the one that is asked.
type family struct {
	claude, gptOSS bool
	// cache says whether prompts are cached, cacheTools whether tools too.
	cache, cacheTools bool
	// status says whether a tool's result may say that it failed.
	status bool
}

func familyOf(name string) family {
	name = strings.ToLower(name)
	nova := strings.Contains(name, "amazon.nova")
	isClaude := claude.Is(name)
	caches := isClaude && claude.Caches(name)
	return family{
		claude:     isClaude,
		gptOSS:     strings.Contains(name, "openai.gpt-oss"),
		cache:      caches || nova,
		cacheTools: caches,
		status:     isClaude || nova,
	}
}

// system is the instructions. The API has no setting for verbosity, so it is
// asked for in words.
func system(req *model.Request) string {
	var wish string
	switch req.Text.Verbosity {
	case "low":
		wish = "Keep your answers short: say what is needed and no more."
	case "high":
		wish = "Give detailed, thorough answers."
	}
	if req.Instructions == "" || wish == "" {
		return req.Instructions + wish
	}
	return req.Instructions + "\n\n" + wish
}

// setTools declares the request's tools. Where it has none, but the conversation
// has calls, the API still wants them declared.
func setTools(in *bedrockruntime.ConverseStreamInput, req *model.Request, f family) error {
	tools := req.Tools
	if len(tools) == 0 {
		for _, name := range transcript.Called(req.Items) {
			tools = append(tools, model.Tool{Name: name})
		}
	}
	if len(tools) == 0 {
		return nil
	}
	in.ToolConfig = &types.ToolConfiguration{}
	for _, t := range tools {
		schema, err := transcript.ObjectSchema(t.Parameters)
		if err != nil {
			return failure.Invalid("tool %s: %v", t.Name, err)
		}
		raw, err := json.Marshal(schema)
		if err != nil {
			return failure.Invalid("tool %s: %v", t.Name, err)
		}
		doc, err := newDocument(raw)
		if err != nil {
			return failure.Invalid("tool %s: its schema cannot be sent: %v", t.Name, err)
		}
		spec := types.ToolSpecification{Name: aws.String(t.Name), InputSchema: &types.ToolInputSchemaMemberJson{Value: doc}}
		if t.Description != "" {
			spec.Description = aws.String(t.Description)
		}
		in.ToolConfig.Tools = append(in.ToolConfig.Tools, &types.ToolMemberToolSpec{Value: spec})
	}
	if f.cacheTools {
		in.ToolConfig.Tools = append(in.ToolConfig.Tools, &types.ToolMemberCachePoint{Value: cachePoint})
	}
	return nil
}

func setFormat(in *bedrockruntime.ConverseStreamInput, text *event.Text) error {
	schema, err := transcript.OutputSchema(text)
	if err != nil {
		return failure.Invalid("%v", err)
	}
	if schema == nil {
		return nil
	}
	in.OutputConfig = &types.OutputConfig{TextFormat: &types.OutputFormat{
		Type: types.OutputFormatTypeJsonSchema,
		Structure: &types.OutputFormatStructureMemberJsonSchema{Value: types.JsonSchemaDefinition{
			Name: aws.String(schemaName), Schema: aws.String(string(text.Schema)),
		}},
	}}
	return nil
}

func setReasoning(in *bedrockruntime.ConverseStreamInput, req *model.Request, f family, turns []transcript.Turn, maxTokens int64) error {
	effort := req.Reasoning.Effort
	if !claude.Effort(effort) {
		return failure.Invalid("reasoning.effort %q is not known", effort)
	}
	switch {
	case f.claude:
		return setThinking(in, req, turns, maxTokens)
	case effort == "":
	case f.gptOSS:
		switch effort {
		case "none":
			return failure.Invalid("reasoning.effort: the model %s always reasons", req.Model)
		case "minimal":
			effort = "low"
		case "xhigh", "max":
			effort = "high"
		}
		in.AdditionalModelRequestFields = document.NewLazyDocument(map[string]any{"reasoning_effort": effort})
	case effort != "none":
		// Bedrock refuses it where the model has none.
		setEffort(in, effort)
	}
	return nil
}

func setEffort(in *bedrockruntime.ConverseStreamInput, effort string) {
	if effort == "" {
		return
	}
	if effort == "minimal" {
		effort = "low"
	}
	if in.OutputConfig == nil {
		in.OutputConfig = &types.OutputConfig{}
	}
	in.OutputConfig.Effort = aws.String(effort)
}

func setThinking(in *bedrockruntime.ConverseStreamInput, req *model.Request, turns []transcript.Turn, maxTokens int64) error {
	effort := req.Reasoning.Effort
	if effort != "" && effort != "none" && !claude.Thinks(req.Model) {
		return failure.Invalid("reasoning.effort: the model %s does not reason", req.Model)
	}
	summary := req.Reasoning.Summary != ""
	t := claude.ForEffort(req.Model, effort, summary, maxTokens)
	thinking := map[string]any{}
	switch t.Mode {
	case claude.Default:
		return nil
	case claude.Off:
		thinking["type"] = "disabled"
	case claude.Budget:
		// With a budget, a run of calls that is still open has to begin with
		// thinking; one that another model began does not.
		if !beginsWithThinking(req.Model, turns) {
			return nil
		}
		thinking["type"], thinking["budget_tokens"] = "enabled", t.Budget
	case claude.Adaptive:
		thinking["type"] = "adaptive"
		if summary {
			thinking["display"] = "summarized"
		}
		setEffort(in, t.Effort)
	}
	in.AdditionalModelRequestFields = document.NewLazyDocument(map[string]any{"thinking": thinking})
	return nil
}

// beginsWithThinking reports whether the last assistant's turn, where its calls
// were just answered, begins with reasoning of this model.
func beginsWithThinking(model string, turns []transcript.Turn) bool {
	n := len(turns)
	if n < 2 || turns[n-1].Role != event.RoleUser || turns[n-1].Items[0].Type != event.ItemFunctionCallOutput {
		return true
	}
	first := turns[n-2].Items[0]
	return first.Type == event.ItemReasoning && keptReasoning(first, model) != nil
}

// newDocument makes a document of JSON, numbers as they are written. The SDK
// would drop an error of the encoding and send a broken body, so it is encoded
// once beforehand.
func newDocument(raw json.RawMessage) (document.Interface, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	doc := document.NewLazyDocument(numbers(v))
	if _, err := doc.MarshalSmithyDocument(); err != nil {
		return nil, err
	}
	return doc, nil
}

// numbers replaces the numbers of encoding/json by those of the SDK.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case json.Number:
		return smithydocument.Number(v)
	}
	return v
}
