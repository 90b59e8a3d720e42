// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/factor"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Keys with which people sign what they approve", Aliases: []string{"key"}}
	var name, vouch string
	add := &cobra.Command{
		Use: "add KEY", Short: "Register an SSH key of your own", Args: cobra.ExactArgs(1),
		Long: `Register an SSH key of your own. KEY is a private key, or the public half of one that ssh-agent holds.
A further key needs the signature of an earlier one. Passkeys are added in the console.`,
		Example: "  sallyport keys add ~/.ssh/id_ed25519.pub --name desk",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			signer, done, err := sshSigner(args[0])
			if err != nil {
				return err
			}
			defer done()
			ch, raw, err := c.challenge(cmd.Context(), "/people/v1/signers/challenge", nil)
			if err != nil {
				return err
			}
			e, err := factor.SignSSH(signer, raw)
			if err != nil {
				return err
			}
			body := map[string]any{"challenge": ch.ID, "name": name, "public_key": string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(signer.PublicKey()))), "signature": e}
			if vouch != "" {
				if body["vouch_ssh"], err = signWith(vouch, raw); err != nil {
					return err
				}
			}
			var made identity.Signer
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/signers", body, &made); err != nil {
				return err
			}
			return a.print(made, func(w io.Writer) { fmt.Fprintf(w, "%s of %s\n", made.ID, made.Person) })
		},
	}
	add.Flags().StringVar(&name, "name", "", "what you call it")
	add.Flags().StringVar(&vouch, "vouch", "", "an earlier key of yours, which signs too")
	cmd.AddCommand(add, &cobra.Command{
		Use: "list", Short: "Registered passkeys and SSH keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/people/v1/signers", 0, func(w io.Writer, s identity.Signer) {
				fmt.Fprintf(w, "%s  %-8s %-16s %s\n", s.ID, s.Key.Kind, s.Person, s.Name)
			})
		},
	}, &cobra.Command{
		Use: "remove ID", Short: "Withdraw a key, for good", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var s identity.Signer
			if err := c.call(cmd.Context(), http.MethodDelete, "/people/v1/signers/"+url.PathEscape(args[0]), nil, &s); err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) { fmt.Fprintf(w, "%s withdrawn\n", s.ID) })
		},
	})
	return cmd
}

// toSign is what the owner wants signed.
type toSign struct {
	ID        string `json:"id"`
	Challenge string `json:"challenge"`
}

// challenge asks for something to sign.
func (c *client) challenge(ctx context.Context, path string, body any) (toSign, []byte, error) {
	var t toSign
	if err := c.call(ctx, http.MethodPost, path, body, &t); err != nil {
		return t, nil, err
	}
	raw, err := base64.RawURLEncoding.DecodeString(t.Challenge)
	if err != nil || len(raw) != 32 {
		return t, nil, errors.New("the owner gave no challenge")
	}
	return t, raw, nil
}

// signWith signs challenge with the key at path.
func signWith(path string, challenge []byte) (*factor.Evidence, error) {
	s, done, err := sshSigner(path)
	if err != nil {
		return nil, err
	}
	defer done()
	e, err := factor.SignSSH(s, challenge)
	return &e, err
}

// sshSigner opens a private key, or finds the key whose public half stands at path in ssh-agent.
func sshSigner(path string) (ssh.Signer, func(), error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if pub, _, _, _, err := ssh.ParseAuthorizedKey(b); err == nil {
		return agentSigner(pub)
	}
	s, err := ssh.ParsePrivateKey(b)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, nil, hinted{fmt.Errorf("key %q has a passphrase", path), "ssh-add " + path + ", then name " + path + ".pub"}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("key %q: %w", path, err)
	}
	return s, func() {}, nil
}

func agentSigner(pub ssh.PublicKey) (ssh.Signer, func(), error) {
	conn, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		return nil, nil, hinted{errors.New("ssh-agent does not answer"), "name the private key in place of the public one"}
	}
	signers, err := agent.NewClient(conn).Signers()
	for _, s := range signers {
		if bytes.Equal(s.PublicKey().Marshal(), pub.Marshal()) {
			return s, func() { _ = conn.Close() }, nil
		}
	}
	_ = conn.Close()
	if err == nil {
		err = hinted{errors.New("ssh-agent does not hold the key"), "ssh-add KEY"}
	}
	return nil, nil, err
}
