package target_test

import (
	"regexp"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/leafward/leafward/internal/target/targettest"
)

// diskFails makes every fsync of this thread fail from now on (seccomp, BPF over the number of the call). The goroutine
// must be locked to the thread and end with it: the filter cannot be taken off.
func diskFails() error {
	const load, equal, give = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: load},
		{Code: equal, Jt: 1, K: unix.SYS_FSYNC},
		{Code: equal, Jf: 1, K: unix.SYS_FDATASYNC},
		{Code: give, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)},
		{Code: give, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	runtime.KeepAlive(&program)
	return err
}

// The disk stops taking anything at a step, and that step must be the one that finds out: what was not synchronised there
// would be noticed later, or never.
func TestEachStepOfASwapIsOnTheDiskBeforeTheNext(t *testing.T) {
	t.Parallel()
	a := targettest.NewAuthority(t)
	old, fresh := a.Bundle(t, "shop.example"), targettest.NewAuthority(t).Bundle(t, "shop.example")
	for step, path := range map[string]string{
		"record open": ".swap", "write": "-0.new", "save": "-0.old", "sync": "/tls/shop", "rename": "/tls/shop", "record validated": ".swap",
	} {
		t.Run(step, func(t *testing.T) {
			s := newService(t)
			s.swap(old)
			failed := make(chan error, 1)
			go func() {
				runtime.LockOSThread()
				armed := false
				files := s.files(func(name string) error {
					if name == step && !armed {
						armed = true
						return diskFails()
					}
					return nil
				})
				failed <- files.Swap(t.Context(), s.change(fresh))
			}()
			err := <-failed
			if err == nil {
				t.Fatal("nobody finds out")
			}
			lost := regexp.MustCompile(`sync (\S+?)(?:\.tmp)?: input/output error`).FindStringSubmatch(err.Error())
			if lost == nil || !strings.HasSuffix(lost[1], path) {
				t.Errorf("the first that finds out is another: %v", err)
			}
			if err := s.files(nil).Recover(t.Context(), nil); err != nil {
				t.Error(err)
			}
			if s.state(s.live, old, fresh) != old.Fingerprint() {
				t.Error("the change was made")
			}
			s.tidy()
		})
	}
}
