# This bundle decides on no action. One that is put in force by mistake denies everything.
package sallyport.appraisal

import rego.v2

deny contains {
	"id": "appraisal.only",
	"code": "not-a-policy",
	"reason": "The bundle that appraises evidence is in the place of the policy.",
	"hint": "No policy is in force.",
	"severity": "high",
}
