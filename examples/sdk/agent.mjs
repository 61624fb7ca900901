// Has an agent count primes: the official SDK, with the base URL of a Stayd server.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://127.0.0.1:8080/v1", apiKey: "none" });
const stream = await client.beta.agents.sessions.create({
  agent: { model: process.env.MODEL },
  environment: { type: "openai_hosted" },
  input: "How many primes are below 100?",
  stream: true,
});
for await (const event of stream) {
  if (event.type === "agent.session.turn.output_text.done") console.log(event.text);
  if (event.type === "agent.session.turn.completed") break;
}
