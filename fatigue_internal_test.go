// SPDX-License-Identifier: Apache-2.0

package sallyport

import "github.com/sallyport/sallyport/admin"

// Reviews is what the people's listener serves of reviews.
func (s *Sallyport) Reviews() admin.Reviews { return s.reviews }
