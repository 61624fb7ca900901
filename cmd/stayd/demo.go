package main

import "github.com/spf13/cobra"

func newDemo() *cobra.Command    { return &cobra.Command{Use: "demo", RunE: help} }
func newMCPDemo() *cobra.Command { return &cobra.Command{Use: "mcp-demo", Hidden: true, RunE: help} }
