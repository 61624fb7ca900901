package index

import (
	"math"
	"time"
)

// Features are what a search knows of a candidate; its score is their sum, each
// times its weight. Those that compare words go over the terms of the question,
// each by its share: how rare it is in the memory times how rare it is in
// English, all shares together 1. A match is from 0 to 1; one in meaning is how
// near the nearest word of the record is. Turns before and after are those of the
// same session, and a record without a place in one has none.
type Features struct {
	Matched     float64 // share of the terms that it has, all terms alike
	Words       float64 // matches in it and, for less, up to two turns away
	WordsNear   float64 // matches up to five turns away
	Meaning     float64 // matches in meaning in it and, for less, in the turn before
	MeaningNear float64 // matches in meaning up to three turns away
	BeforeThat  float64 // matches in meaning two turns before
	Answer      float64 // matches in meaning in the turn before, where that asks something
	Session     float64 // how often the terms are there in the turns around it
	Vector      float64 // cosine with the question, both less the mean of the memory
	VectorNear  float64 // the same with the turns before and after it added

	Speaker      float64 // 1 said by or about the one whom the question names, -1 said by somebody else
	FirstSpeaker float64 // the same for the first of several who are named
	Month        float64 // it is of the month or year that the question names
	Day          float64 // it is of the day or week that the question names
	WhenTime     float64 // it has a time, and the question asks for one
	Time         float64 // it has a time
	Opening      float64 // it opens its session
	Rare         float64 // how rare in English its rarest word is
	FirstPerson  float64 // somebody speaks of themselves
	Foreign      float64 // it rests on the words of tools or other people
	Recency      float64 // from 1 now to 0 long ago
}

// Weights say what a feature adds to the score.
type Weights Features

// DefaultWeights returns those that were found by measuring. None but that of
// foreign words is negative: a record never ranks lower for matching better.
func DefaultWeights() Weights {
	return Weights{
		Matched: 1.3, Words: 0.9, WordsNear: 1.65, Meaning: 1.85, MeaningNear: 2.6, BeforeThat: 0.95, Answer: 1.5,
		Session: 1.2, Vector: 1.35, VectorNear: 2, Speaker: 1.45, FirstSpeaker: 0.55, Month: 3.1, Day: 1.9,
		WhenTime: 1.7, Time: 0.45, Opening: 0.75, Rare: 1.55, FirstPerson: 0.55, Foreign: -0.3, Recency: 0.05,
	}
}

func (f *Features) score(w *Weights) float64 {
	return f.Matched*w.Matched + f.Words*w.Words + f.WordsNear*w.WordsNear + f.Meaning*w.Meaning +
		f.MeaningNear*w.MeaningNear + f.BeforeThat*w.BeforeThat + f.Answer*w.Answer + f.Session*w.Session +
		f.Vector*w.Vector + f.VectorNear*w.VectorNear + f.Speaker*w.Speaker + f.FirstSpeaker*w.FirstSpeaker +
		f.Month*w.Month + f.Day*w.Day + f.WhenTime*w.WhenTime + f.Time*w.Time + f.Opening*w.Opening +
		f.Rare*w.Rare + f.FirstPerson*w.FirstPerson + f.Foreign*w.Foreign + f.Recency*w.Recency
}

// halfLife is the age in which recency halves.
const halfLife = 30 * 24 * time.Hour

// recency of something so many microseconds old.
func recency(age float64) float64 { return math.Exp2(-max(age, 0) / float64(halfLife.Microseconds())) }
