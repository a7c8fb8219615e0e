package main

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
)

// external sends a table along with a query.
func external(connection clickhouse.Conn, ctx context.Context) error {
	table, err := ext.NewTable("sent", ext.Column("value", "UInt64"))
	check(err)
	check(table.Append(uint64(1)))
	given := clickhouse.Context(ctx, clickhouse.WithExternalTable(table))
	var sum uint64
	return connection.QueryRow(given, "SELECT sum(value) FROM sent").Scan(&sum)
}
