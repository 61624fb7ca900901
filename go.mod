module github.com/stayd/stayd

go 1.26
