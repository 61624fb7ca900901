package rerank

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// scored is what an endpoint says of one text, by the name of either form.
type scored struct {
	Index          *int     `json:"index"`
	RelevanceScore *float64 `json:"relevance_score"`
	Score          *float64 `json:"score"`
}

// parse reads an answer about n texts and returns their places in the order of
// their scores.
func parse(body []byte, n int) ([]int, error) {
	list, err := results(body)
	if err != nil {
		return nil, err
	}
	scores := make(map[int]float64, len(list))
	order := make([]int, 0, n)
	for _, s := range list {
		score := s.RelevanceScore
		if score == nil {
			score = s.Score
		}
		switch {
		case s.Index == nil || score == nil:
			return nil, errors.New("a result has no index or no score")
		case *s.Index < 0 || *s.Index >= n:
			return nil, fmt.Errorf("it has a result with the index %d, of %d texts", *s.Index, n)
		}
		if _, twice := scores[*s.Index]; twice {
			return nil, fmt.Errorf("it has two results with the index %d", *s.Index)
		}
		scores[*s.Index] = *score
		order = append(order, *s.Index)
	}
	if len(order) == 0 {
		return nil, errors.New("it has no results")
	}
	slices.Sort(order)
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		}
		return 0
	})
	for i := range n {
		if _, ok := scores[i]; !ok {
			order = append(order, i)
		}
	}
	return order, nil
}

// results reads the list, which stands alone or in an object.
func results(body []byte) (list []scored, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		err = json.Unmarshal(body, &list)
		return list, err
	}
	var reply struct {
		Results []scored `json:"results"`
	}
	err = json.Unmarshal(body, &reply)
	return reply.Results, err
}
