package main

// quorumBar is what a call that needs one answer of a thousand may take, as a
// part of what it takes to get them all.
const quorumBar = 0.25

// everybody and anybody are the cases that are compared.
var (
	everybody = setup{work: quick, producers: 1000, listeners: 1}
	anybody   = setup{work: quick, producers: 1000, listeners: 1, quorum: 1}
)

// quorum compares a call that ends with the first answer with one that does not.
func (b *bench) quorum() error {
	t := newComparisons("all", "quorum")
	_, err := b.compare(t, anybody.String(), byDispatch.with(everybody), byDispatch.with(anybody), bars{quorumBar, none})
	if err != nil {
		return err
	}
	t.print(b.out)
	return nil
}
