// Asks a ClickHouse over its native protocol by clickhouse-go, with each kind of compression, and prints what happened.
//
// Usage: native ADDRESS
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

type outcome struct {
	User       string
	Sum        uint64
	Text       string
	Parameter  string
	Refused    int32
	Unknown    int32
	Syntax     int32
	External   bool
	Afterwards uint8
	Cancelled  bool
}

func main() {
	printed := json.NewEncoder(os.Stdout)
	for _, method := range []clickhouse.CompressionMethod{
		clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionLZ4HC, clickhouse.CompressionZSTD,
	} {
		check(printed.Encode(ask(os.Args[1], method)))
	}
}

func ask(address string, method clickhouse.CompressionMethod) (got outcome) {
	connection, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{address}, MaxOpenConns: 1, Compression: &clickhouse.Compression{Method: method},
	})
	check(err)
	defer connection.Close()
	// Of this the library makes max_execution_time = 65.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	check(connection.Ping(ctx))
	check(connection.QueryRow(ctx, "SELECT currentUser()").Scan(&got.User))
	check(connection.QueryRow(ctx, "SELECT sum(number) FROM numbers(1000)").Scan(&got.Sum))
	rows, err := connection.Query(ctx, "SELECT toString(number) FROM numbers(200000)")
	check(err)
	for rows.Next() {
		check(rows.Scan(&got.Text))
	}
	check(rows.Err())
	given := clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"text": "it's \\ ü", "limit": "7"}))
	check(connection.QueryRow(given, "SELECT concat({text:String}, ' ', {limit:String})").Scan(&got.Parameter))
	got.Refused = code(connection.Exec(ctx, "SELECT file('/etc/hostname')"))
	strange := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"no_such_setting": 1}))
	got.Unknown = code(connection.Exec(strange, "SELECT 1"))
	got.Syntax = code(connection.Exec(ctx, "SELECT 1 +"))
	got.External = external(connection, ctx) != nil
	brief, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	got.Cancelled = connection.Exec(brief, "SELECT sleepEachRow(0.01) FROM numbers(3000)") != nil
	check(connection.QueryRow(ctx, "SELECT toUInt8(42)").Scan(&got.Afterwards))
	return got
}

func code(err error) int32 {
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		return exception.Code
	}
	return -1
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
