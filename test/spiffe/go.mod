module github.com/sallyport/sallyport/test/spiffe

go 1.26.0

require (
	github.com/sallyport/sallyport v0.0.0
	github.com/spiffe/go-spiffe/v2 v2.9.0
)

replace github.com/sallyport/sallyport => ../..
