// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
)

func (a *app) egressCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "egress", Short: "What agents need to use the egress proxy"}
	cmd.AddCommand(&cobra.Command{
		Use: "ca AGENT", Short: "Print the certificate that an agent's programs must trust", Args: cobra.ExactArgs(1),
		Long: `Print the certificate of the authority that signs for intercepted hosts towards one agent. The authority
is made when it is first needed and ends with the owner: fetch the certificate again after a restart. The
agent gets the same from /ca.pem at the proxy's own address, with its token.`,
		Example: "  sallyport egress ca fetcher > ca.pem\n  curl --cacert ca.pem --proxy http://agent:$TOKEN@127.0.0.1:7119 https://example.com/",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), true)
			if err != nil {
				return err
			}
			var out sallyport.EgressCA
			if err := c.call(cmd.Context(), "GET", "/people/v1/local/egress/ca/"+url.PathEscape(args[0]), nil, &out); err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) { _, _ = io.WriteString(w, out.Certificate) })
		},
	})
	return cmd
}
