module golang.org/x/net/idna

go 1.26.0
