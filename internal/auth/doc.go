// Package auth knows who may do what: principals, their credentials and grants, and the teams and owners that scope them.
package auth
