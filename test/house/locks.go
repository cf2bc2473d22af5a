package main

import (
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"path"
	"slices"
	"strings"
)

// locks returns the number of fields and variables that synchronize goroutines, and how many
// there are of each kind: those whose type is of sync or sync/atomic, and those whose address
// is given to a function of sync/atomic. Parameters and pointers are not counted, because the
// fields that they point to are. Semaphores are always behind pointers, often several pointers
// to the same semaphore, so they are listed and not counted.
func (c *code) locks() (n int, kinds string) {
	counts := make(map[string]int)
	semaphores := 0
	for _, p := range c.packages {
		for _, object := range p.info.Defs {
			v, ok := object.(*types.Var)
			if !ok || v.Kind() == types.ParamVar || v.Kind() == types.RecvVar || v.Kind() == types.ResultVar {
				continue
			}
			switch of, name := elementType(v.Type()); of {
			case "sync", "sync/atomic":
				counts[path.Base(of)+"."+name]++
				n++
			case "golang.org/x/sync/semaphore":
				semaphores++
			}
		}
		if old := len(p.oldAtomics()); old > 0 {
			counts["by atomic functions"] += old
			n += old
		}
	}
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	if semaphores > 0 {
		list = append(list, fmt.Sprintf("not counted: %d pointers to semaphores", semaphores))
	}
	return n, strings.Join(list, ", ")
}

// elementType returns the package and the name of a type, or of the elements of an
// array, slice or map, or, in the case of a semaphore, of what a pointer points to.
func elementType(t types.Type) (of, name string) {
	switch t := types.Unalias(t).(type) {
	case *types.Array:
		return elementType(t.Elem())
	case *types.Slice:
		return elementType(t.Elem())
	case *types.Map:
		return elementType(t.Elem())
	case *types.Pointer:
		if of, name := elementType(t.Elem()); of == "golang.org/x/sync/semaphore" {
			return of, name
		}
	case *types.Named:
		if p := t.Obj().Pkg(); p != nil {
			return p.Path(), t.Obj().Name()
		}
	}
	return "", ""
}

// oldAtomics returns the fields and variables that the functions of sync/atomic are
// used on.
func (p *pack) oldAtomics() map[types.Object]bool {
	seen := make(map[types.Object]bool)
	for _, f := range p.syntax {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			function, ok := p.object(call.Fun).(*types.Func)
			if !ok || function.Pkg() == nil || function.Pkg().Path() != "sync/atomic" || function.Signature().Recv() != nil {
				return true
			}
			if address, ok := call.Args[0].(*ast.UnaryExpr); ok {
				seen[p.object(address.X)] = true
			}
			return true
		})
	}
	return seen
}

// object returns what an identifier or the end of a selector stands for, or nil.
func (p *pack) object(e ast.Expr) types.Object {
	switch e := e.(type) {
	case *ast.Ident:
		return p.info.Uses[e]
	case *ast.SelectorExpr:
		return p.info.Uses[e.Sel]
	}
	return nil
}
