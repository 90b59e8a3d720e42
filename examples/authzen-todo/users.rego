# Who the users of the scenario are. In a deployment this comes from the directory.
package sallyport.todo

import rego.v2

users := {
	"CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {"id": "rick@the-citadel.com", "roles": {"admin", "evil_genius"}},
	"CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {"id": "morty@the-citadel.com", "roles": {"editor"}},
	"CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {"id": "summer@the-smiths.com", "roles": {"editor"}},
	"CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {"id": "beth@the-smiths.com", "roles": {"viewer"}},
	"CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": {"id": "jerry@the-smiths.com", "roles": {"viewer"}},
}
