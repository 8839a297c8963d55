// Package deploy is the verb for what must be where: it draws the consequences of deployments, decides from what was
// seen whether a version is served, and answers for jobs and verifications.
//
// A deployment that is completed adds the job that proves it, in the same transaction and below the same root, so that
// the root cannot end between the two. The agent of ours on the host works that job and reports through
// [Service.Verify]; then, and for agents that say nothing, the server looks itself where it may reach the address.
// A version is proved when every address that answers serves it. Nothing, or the old certificate, means to look again;
// a certificate that is neither the old nor the new one fails the attempt.
package deploy
