// SPDX-License-Identifier: Apache-2.0

// Package ejbca stands in for the client of one certificate authority that SPIRE can sit under, which our tests do not
// use: it has the names that SPIRE compiles against, and every call fails.
package ejbca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
)

var errAbsent = errors.New("ejbca: not part of this build")

// Authenticator would sign in at the authority.
type Authenticator interface{ GetHTTPClient() (*http.Client, error) }

// MTLSAuthenticatorBuilder would make one from a certificate.
type MTLSAuthenticatorBuilder struct{}

// NewMTLSAuthenticatorBuilder returns a builder whose Build fails.
func NewMTLSAuthenticatorBuilder() *MTLSAuthenticatorBuilder { return &MTLSAuthenticatorBuilder{} }

// WithClientCertificate changes nothing.
func (b *MTLSAuthenticatorBuilder) WithClientCertificate(*tls.Certificate) *MTLSAuthenticatorBuilder {
	return b
}

// WithCaCertificates changes nothing.
func (b *MTLSAuthenticatorBuilder) WithCaCertificates([]*x509.Certificate) *MTLSAuthenticatorBuilder {
	return b
}

// Build fails.
func (b *MTLSAuthenticatorBuilder) Build() (Authenticator, error) { return nil, errAbsent }

// Configuration would say where the authority is.
type Configuration struct{ Host string }

// NewConfiguration returns an empty one.
func NewConfiguration() *Configuration { return &Configuration{} }

// SetAuthenticator changes nothing.
func (c *Configuration) SetAuthenticator(Authenticator) {}

// APIClient would speak to the authority.
type APIClient struct{ V1CertificateApi *V1CertificateApiService }

// NewAPIClient fails.
func NewAPIClient(*Configuration) (*APIClient, error) { return nil, errAbsent }

// V1CertificateApiService would sign certificates.
type V1CertificateApiService struct{}

// EnrollPkcs10Certificate returns a request whose Execute fails.
func (*V1CertificateApiService) EnrollPkcs10Certificate(context.Context) ApiEnrollPkcs10CertificateRequest {
	return ApiEnrollPkcs10CertificateRequest{}
}

// ApiEnrollPkcs10CertificateRequest would be a request.
type ApiEnrollPkcs10CertificateRequest struct{}

// EnrollCertificateRestRequest changes nothing.
func (r ApiEnrollPkcs10CertificateRequest) EnrollCertificateRestRequest(EnrollCertificateRestRequest) ApiEnrollPkcs10CertificateRequest {
	return r
}

// Execute fails.
func (ApiEnrollPkcs10CertificateRequest) Execute() (*CertificateRestResponse, *http.Response, error) {
	return nil, nil, errAbsent
}

// EnrollCertificateRestRequest would say what is to be signed.
type EnrollCertificateRestRequest struct{}

// NewEnrollCertificateRestRequest returns an empty one; its setters change nothing.
func NewEnrollCertificateRestRequest() *EnrollCertificateRestRequest {
	return &EnrollCertificateRestRequest{}
}

func (*EnrollCertificateRestRequest) SetUsername(string)                 {}
func (*EnrollCertificateRestRequest) SetPassword(string)                 {}
func (*EnrollCertificateRestRequest) SetCertificateRequest(string)       {}
func (*EnrollCertificateRestRequest) SetCertificateAuthorityName(string) {}
func (*EnrollCertificateRestRequest) SetCertificateProfileName(string)   {}
func (*EnrollCertificateRestRequest) SetEndEntityProfileName(string)     {}
func (*EnrollCertificateRestRequest) SetIncludeChain(bool)               {}
func (*EnrollCertificateRestRequest) SetAccountBindingId(string)         {}

// CertificateRestResponse would be an answer.
type CertificateRestResponse struct{ CertificateChain []string }

// GetResponseFormat returns none.
func (*CertificateRestResponse) GetResponseFormat() string { return "" }

// GetCertificate returns none.
func (*CertificateRestResponse) GetCertificate() string { return "" }

// GenericOpenAPIError would be an answer of the authority.
type GenericOpenAPIError struct{}

func (GenericOpenAPIError) Error() string { return errAbsent.Error() }

// Body returns nothing.
func (GenericOpenAPIError) Body() []byte { return nil }
