// Command go has an agent count primes: the official SDK, with the base URL of a
// Stayd server.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func main() {
	client := openai.NewClient(option.WithBaseURL("http://127.0.0.1:8080/v1/"), option.WithAPIKey("none"))
	stream := client.Beta.Agents.Sessions.NewStreaming(context.Background(), openai.BetaAgentSessionNewParams{
		Agent:       openai.BetaAgentSessionNewParamsAgent{Model: openai.String(os.Getenv("MODEL"))},
		Environment: openai.EnvironmentParamUnion{OfParamOpenAIHosted: &openai.EnvironmentParamOpenAIHosted{}},
		Input:       openai.BetaAgentSessionNewParamsInputUnion{OfString: openai.String("How many primes are below 100?")},
	})
	result, err := openai.BetaAgentSessionFinalResult(stream)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.SessionID(), result.OutputText())
}
