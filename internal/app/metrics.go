package app

import (
	"github.com/prometheus/client_golang/prometheus"
)

// registerMetrics adds what the engine tells of itself to
// what the door counts.
func registerMetrics(r prometheus.Registerer, a *App) {
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "stayd", Name: name, Help: help}, value))
	}
	gauge("sessions_running", "Sessions that have something under way in this process.", func() float64 { return float64(a.worker.Running()) })
	gauge("shards_held", "Shards whose lease this process holds.", func() float64 { return float64(len(a.holder.Shards())) })
}
