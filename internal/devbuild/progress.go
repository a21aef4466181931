// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package devbuild

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	firstReport    = 3 * time.Second
	reportInterval = 15 * time.Second
)

// progress reads the stderr of "go list" and "go build" and reports how far they are.
type progress struct {
	name  string
	out   io.Writer
	began time.Time

	mu sync.Mutex
	// partial is a line whose end has not been written yet.
	partial []byte
	// expected are the packages that "go build -v" may name. It does not name what the
	// build cache holds, so their number is an upper bound.
	expected             map[string]bool
	downloaded, compiled int
	messages             []string
}

func newProgress(name string, out io.Writer) *progress {
	return &progress{name: name, out: out, began: time.Now()}
}

// start reports every reportInterval until the returned function is called.
func (p *progress) start() (stop func()) {
	done := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() {
		timer := time.NewTimer(firstReport)
		defer timer.Stop()
		for {
			select {
			case <-done:
				return
			case <-timer.C:
				p.say(p.status())
				timer.Reset(reportInterval)
			}
		}
	})
	return func() {
		close(done)
		reporter.Wait()
	}
}

// expect says which packages the build consists of.
func (p *progress) expect(packages []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = make(map[string]bool, len(packages))
	for _, name := range packages {
		p.expected[name] = true
	}
}

// Write takes a piece of the command's stderr.
func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, text...)
	for {
		line, rest, complete := bytes.Cut(p.partial, []byte("\n"))
		if !complete {
			return len(text), nil
		}
		p.count(string(line))
		p.partial = rest
	}
}

func (p *progress) count(line string) {
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		p.downloaded++
	case p.expected[line]:
		p.compiled++
	default:
		p.messages = append(p.messages, line)
	}
}

func (p *progress) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.expected == nil {
		return fmt.Sprintf("%d modules downloaded", p.downloaded)
	}
	return fmt.Sprintf("%d of at most %d packages compiled", p.compiled, len(p.expected))
}

// printMessages prints what the commands wrote beside their progress.
func (p *progress) printMessages() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.partial) > 0 {
		p.count(string(p.partial))
		p.partial = nil
	}
	for _, message := range p.messages {
		fmt.Fprintln(p.out, message)
	}
}

// built reports the end of a build that took long enough to have been reported on.
func (p *progress) built() {
	if time.Since(p.began) >= firstReport {
		p.say("built")
	}
}

func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%s: %s  %s\n", p.name, p.elapsed(), text)
}

// elapsed is in minutes and seconds.
func (p *progress) elapsed() string {
	seconds := int(time.Since(p.began).Seconds())
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}
