// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"sync"
	"testing"

	"github.com/sallyport/sallyport/gateway/postgres"
)

func TestUpstreamIsWhatTheConfigurationSaysForConnectionsAtTheSameTime(t *testing.T) {
	for name, v := range map[string]string{"PGHOST": "evil", "PGPORT": "1", "PGUSER": "boss", "PGDATABASE": "evil", "PGPASSWORD": "no", "PGOPTIONS": "-c role=boss"} {
		t.Setenv(name, v)
	}
	connect := postgres.Upstream("host=127.0.0.1 user=agents dbname=shop", func() (string, error) { return "pw", nil })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := connect()
			if err != nil {
				t.Error(err)
				return
			}
			if c.Host != "127.0.0.1" || c.Port != 5432 || c.User != "agents" || c.Database != "shop" || c.Password != "pw" || len(c.RuntimeParams) != 0 {
				t.Errorf("%s:%d %s %s %v", c.Host, c.Port, c.User, c.Database, c.RuntimeParams)
			}
		})
	}
	wg.Wait()
}

func TestCheckUpstreamRefusesWhatLeavesSomethingOpen(t *testing.T) {
	for dsn, ok := range map[string]bool{
		"host=127.0.0.1 user=u dbname=d":                          true,
		"host=/run/postgresql user=u dbname=d":                    true,
		"host=db.example.com user=u dbname=d sslmode=verify-full": true,
		"host=db.example.com user=u dbname=d":                     false,
		"user=u dbname=d":                                         false,
		"host=127.0.0.1 dbname=d":                                 false,
		"host=127.0.0.1 user=u":                                   false,
		"host=127.0.0.1 user=u dbname=d password=p":               false,
		"host=127.0.0.1 user=u dbname=d service=s":                false,
		"host= user=u dbname=d":                                   false,
		"postgres://u:p@db.example.com/d":                         false,
		"":                                                        false,
	} {
		if err := postgres.CheckUpstream(dsn); (err == nil) != ok {
			t.Errorf("%q: %v", dsn, err)
		}
	}
}
