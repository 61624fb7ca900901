package transfer_test

import "github.com/stayd/stayd/internal/memory/transfer"

// imported is what becomes of each file of testdata.
func imported() map[string]expectation {
	return map[string]expectation{
		"mem0.json": {
			report: transfer.Report{Format: transfer.Mem0, Read: 3, Kept: 2},
			records: []string{
				`semantic | /actors/alice/facts | agent | 2025-03-01T17:30:00.123456Z.. | 0b6e1d4a-4c1d-4f0e-9a55-6f6a3f6d2c01 | Keeps two bee hives behind the workshop | {"categories":"hobbies","hives":"2","place":"garden"}`,
				`preference | /actors/alice/preferences | user | 2025-03-09T18:45:00Z.. | 0b6e1d4a-4c1d-4f0e-9a55-6f6a3f6d2c02 | until=2026-02-01T00:00:00Z | Prefers the night train to flying | {"agent_id":"planner","categories":"user_preferences, travel","created_at":"2025-03-02T10:00:00Z","immutable":"false"}`,
			},
			lost: []string{
				`relation 1: relations[0]: alice keeps bees`,
				`hash 2: results[0]; results[1]`,
				`other_actor 1: results[2]: bob`,
			},
		},
		"mem0-history.json": {
			report: transfer.Report{Format: transfer.Mem0, Read: 8, Kept: 4},
			records: []string{
				`semantic | /actors/alice/facts | agent | 2025-01-05T08:00:00Z..2025-02-10T08:00:00Z | m1 | before=Lives in Ghent | Lives in Lille | {"created_at":"2025-01-05T08:00:00Z"}`,
				`semantic | /actors/alice/facts | agent | 2025-02-10T08:00:00Z..2025-04-20T08:00:00Z | m1 | after=Lives in Lille | before=Lives in Ghent, near the old docks | Lives in Ghent | {"created_at":"2025-01-05T08:00:00Z"}`,
				`semantic | /actors/alice/facts | agent | 2025-04-20T08:00:00Z.. | m1 | after=Lives in Ghent | Lives in Ghent, near the old docks | {"created_at":"2025-01-05T08:00:00Z"}`,
				`semantic | /actors/alice/facts | agent | 2025-01-06T08:00:00Z..2025-02-11T08:00:00Z | m2 | Is looking for a flat`,
			},
			lost: []string{
				`other_actor 1: results[1]: bob`,
			},
		},
		"letta.af": {
			report: transfer.Report{Format: transfer.Letta, Read: 10, Kept: 6},
			records: []string{
				`core | /actors/alice/core | agent | label=human | 2025-06-01T00:00:00Z.. | block-0 | Has a quince, two pears and clay soil. | {"area":"north","description":"What is known of the gardener","limit":"5000"}`,
				`core | /actors/alice/core | agent | label=human_2 | 2025-06-01T00:00:00Z.. | block-2 | Cooks without nuts. | {"limit":"2000","read_only":"true"}`,
				`turn | /actors/alice/sessions/gardener | user | user | 2025-05-04T07:01:00Z.. | message-1 | #1 | The quince has brown spots.`,
				`turn | /actors/alice/sessions/gardener | tool | look_up | 2025-05-04T07:01:06Z.. | message-3 | #2 | Quince leaf blight: cut out, burn.`,
				`turn | /actors/alice/sessions/gardener | agent | assistant | 2025-05-04T07:01:09Z.. | message-4 | #3 | That looks like leaf blight. Cut the twigs and burn them.`,
				`semantic | /actors/alice/facts | agent | 2025-04-01T12:00:00Z.. | passage-0 | The pear at the gate was grafted in 2019. | {"source":"diary","tags":"[\"pear\"]"}`,
			},
			lost: []string{
				`empty 1: blocks[1]`,
				`label 1: blocks[2]: human became human_2`,
				`system_message 1: agents[0], messages[0]`,
				`image 1: agents[0], messages[1].content[1]`,
				`reasoning 1: agents[0], messages[2].content[0]`,
				`tool_call 1: agents[0], messages[2]: look_up`,
				`message 1: agents[0], messages[5]: approval`,
				`agent_setting 4: agents[0]: embedding_config; agents[0]: llm_config; agents[0]: tags`,
				`in_context_message_ids 1: agents[0]`,
				`system 1: agents[0]`,
				`tool_ids 1: agents[0]: tool_ids[0]`,
				`tool_rules 1: agents[0]: tool_rules[0] water`,
				`embedding 1: passages[0]: plain-embed`,
				`tools 1: the document: tools[0] look_up`,
			},
		},
		"letta-older.af": {
			report: transfer.Report{Format: transfer.Letta, Read: 6, Kept: 3},
			records: []string{
				`core | /actors/alice/core | agent | label=human | 2025-04-02T10:00:00Z.. | block/human | Plays the viola on Tuesdays. | {"created_at":"2025-03-30T19:31:05.641371Z","limit":"5000"}`,
				`turn | /actors/alice/sessions/page_turner | user | Ada | 2025-03-30T19:33:00Z.. | page_turner/messages[2] | #1 | Which clef is this?`,
				`turn | /actors/alice/sessions/page_turner | agent | assistant | 2025-03-30T19:33:04Z.. | page_turner/messages[3] | #2 | It is the alto clef.`,
			},
			lost: []string{
				`system_message 1: messages[0]`,
				`notice 1: messages[1]: login`,
				`reasoning 1: messages[3]`,
				`agent_setting 4: the document: embedding_config; the document: llm_config; the document: message_buffer_autoclear`,
				`in_context_message_indices 1: the document`,
				`system 1: the document`,
				`tool_exec_environment_variables 1: the document: tool_exec_environment_variables[0] SCORES`,
				`tools 2: the document: tools[0] send_message; the document: tools[1] find_score`,
			},
		},
		"langgraph.jsonl": {
			report: transfer.Report{Format: transfer.LangGraph, Read: 4, Kept: 3},
			records: []string{
				`semantic | /actors/alice/facts | agent | 2025-02-03T08:00:00Z.. | memories/alice/k1 | Rides a recumbent bicycle to work | {"created_at":"2025-02-01T08:00:00Z","store_namespace":"memories/alice","topic":"travel","weight":"0.5"}`,
				`semantic | /actors/alice/facts | agent | 2025-02-01T08:00:00Z.. | memories/alice/k2 | Sings second tenor | {"kind":"Memory","store_namespace":"memories/alice"}`,
				`semantic | /actors/alice/facts | agent | 2025-02-01T08:00:00.5Z.. | profiles/alice/profile | until=2025-12-01T00:00:00Z | {"name":"Alice","languages":["nl","fr"]} | {"store_namespace":"profiles/alice"}`,
			},
			lost: []string{
				`score 1: line 1`,
				`other_actor 1: line 3: memories/bob`,
				`json_text 1: line 5`,
			},
		},
		"langgraph.json": {
			report: transfer.Report{Format: transfer.LangGraph, Read: 2, Kept: 2},
			records: []string{
				`semantic | /actors/alice/facts | agent | 2025-02-01T08:00:00Z.. | alice/notes/a | The spare key is with the baker | {"store_namespace":"alice/notes"}`,
				`semantic | /actors/alice/facts | agent | 2025-02-01T08:00:00Z.. | b | plain words`,
			},
		},
		"agentcore-events.json": {
			report: transfer.Report{Format: transfer.AgentCore, Read: 3, Kept: 4},
			records: []string{
				`turn | /actors/alice/sessions/s-1 | user | user | 2025-02-19T21:20:00Z.. | 0000001740000000000#ab10/1 | #1 | When does the ferry to Texel leave? | {"channel":"phone","memory_id":"travel-0123456789"}`,
				`turn | /actors/alice/sessions/s-1 | other | other | 2025-02-19T21:20:00Z.. | 0000001740000000000#ab10/2 | #2 | Ask about the car too. | {"channel":"phone","memory_id":"travel-0123456789"}`,
				`turn | /actors/alice/sessions/s-1 | tool | tool | 2025-02-19T21:25:00.25Z.. | 0000001740000300000#ab12/1 | #3 | {"ferry": "08:40"} | {"branch":"retry","branch_root":"0000001740000000000#ab10","memory_id":"travel-0123456789"}`,
				`turn | /actors/alice/sessions/s-1 | agent | assistant | 2025-02-19T21:25:00.25Z.. | 0000001740000300000#ab12/2 | #4 | The ferry leaves at 8:40. | {"branch":"retry","branch_root":"0000001740000000000#ab10","memory_id":"travel-0123456789"}`,
			},
			lost: []string{
				`other_actor 1: events[1]: bob`,
				`blob 1: events[0].payload[2]`,
			},
		},
		"agentcore-records.json": {
			report: transfer.Report{Format: transfer.AgentCore, Read: 4, Kept: 3},
			records: []string{
				`semantic | /actors/alice/facts | agent | 2025-02-20T09:00:00Z.. | mem-3f1c2a4e-0000-4000-8000-000000000001 | Travels with a folding bicycle. | {"desk":"north","namespace":"/actors/alice/facts/","strategy_id":"facts-AbCdEf1234","visits":"3"}`,
				`preference | /actors/alice/preferences | agent | 2025-02-20T09:00:00Z.. | mem-3f1c2a4e-0000-4000-8000-000000000002 | Window seats on the left | {"categories":"[\"travel\",\"seats\"]","context":"said while booking","namespace":"/users/alice/preferences","strategy_id":"preference_builtin-AbCdEf1234"}`,
				`summary | /actors/alice/summaries/s-1 | agent | 2025-02-20T09:00:00Z.. | mem-3f1c2a4e-0000-4000-8000-000000000003 | <topic name="Ferry">Asked for the ferry to Texel.</topic> | {"namespace":"/strategies/summary_builtin-AbCdEf1234/actors/alice/sessions/s-1","strategy_id":"summary_builtin-AbCdEf1234"}`,
			},
			lost: []string{
				`score 1: memoryRecordSummaries[0]`,
				`other_actor 1: memoryRecordSummaries[3]: actors/bob/facts`,
			},
		},
	}
}
