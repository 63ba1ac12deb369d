package sensors

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// thermometers are the families on 1-wire that the driver w1_therm serves: DS18S20, DS1822, DS18B20, DS1825, DS28EA00.
var thermometers = []string{"10-", "22-", "28-", "3b-", "42-"}

// w1 reads the thermometers on 1-wire buses (Documentation/w1/slaves/w1_therm.rst), by their serial numbers. Each takes up
// to 750 ms to convert; they are read side by side.
func w1(ctx context.Context, m Machine) *found {
	f := nothing()
	var names []string
	for _, name := range m.entries(f, "sys/bus/w1/devices") {
		for _, family := range thermometers {
			if strings.HasPrefix(strings.ToLower(name), family) {
				names = append(names, name)
			}
		}
	}
	m.crew.read(ctx, f, names, m.thermometer)
	return f
}

// thermometer prefers the file that shows the sensor's own bytes: a checksum of nothing but zeros is right, too, and so is
// one of a sensor that has lost its power meanwhile.
func (m Machine) thermometer(name string) (any, error) {
	text, err := m.text("sys/bus/w1/devices", name, "w1_slave")
	if errors.Is(err, fs.ErrNotExist) {
		milli, err := m.integer("sys/bus/w1/devices", name, "temperature")
		if err != nil {
			return nil, err
		}
		return plausible(milli)
	}
	if err != nil {
		return nil, err
	}
	celsius, err := scratchpad(text)
	if err != nil {
		return nil, err
	}
	return map[string]any{"celsius": celsius}, nil
}

// plausible refuses what no thermometer of these families can measure: they end at -55 °C and 125 °C.
func plausible(milli int64) (any, error) {
	if milli < -55_000 || milli > 125_000 {
		return nil, fmt.Errorf("%d m°C is beyond what the sensor can measure", milli)
	}
	return map[string]any{"celsius": float64(milli) / 1e3}, nil
}

// scratchpad reads what the driver shows of a measurement: the sensor's nine bytes twice, first with the verdict on their
// checksum, then with the temperature.
//
//	72 01 4b 46 7f ff 0e 10 57 : crc=57 YES
//	72 01 4b 46 7f ff 0e 10 57 t=23125
func scratchpad(text string) (celsius float64, err error) {
	first, second, ok := strings.Cut(strings.TrimSpace(text), "\n")
	raw, verdict, found := strings.Cut(first, " : crc=")
	_, number, measured := strings.Cut(second, " t=")
	if !ok || !found || !measured {
		return 0, fmt.Errorf("%s is no measurement", quote(text))
	}
	if !strings.HasSuffix(verdict, " YES") {
		return 0, errors.New("checksum wrong: look at the wires, the pull-up resistor and the length of the bus")
	}
	if err := sound(raw); err != nil {
		return 0, err
	}
	milli, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s is no temperature", quote(number))
	}
	if _, err := plausible(milli); err != nil {
		return 0, err
	}
	return float64(milli) / 1e3, nil
}

// sound looks at the nine bytes themselves. A bus that is shorted reads as zeros, whose checksum is right. A DS18B20 that
// has lost its power before it had measured answers with what it wakes up with: 85 °C (0x0550), and 0x0c in a byte that is
// 0x10 after a measurement.
func sound(raw string) error {
	var pad []byte
	for word := range strings.FieldsSeq(raw) {
		b, err := strconv.ParseUint(word, 16, 8)
		if err != nil {
			return fmt.Errorf("%s is no byte", quote(word))
		}
		pad = append(pad, byte(b))
	}
	if len(pad) != 9 {
		return fmt.Errorf("%d bytes instead of 9", len(pad))
	}
	if crc8(pad) != 0 {
		return errors.New("checksum wrong, though the driver says otherwise")
	}
	if strings.Trim(string(pad), "\x00") == "" {
		return errors.New("nothing but zeros: the bus is shorted or the sensor is gone")
	}
	if pad[0] == 0x50 && pad[1] == 0x05 && pad[6] == 0x0c {
		return errors.New("85 °C is what the sensor wakes up with: it has lost its power before it had measured")
	}
	return nil
}

// crc8 is the checksum of 1-wire, x⁸+x⁵+x⁴+1; of bytes with their checksum behind them it is 0.
func crc8(b []byte) (crc byte) {
	for _, c := range b {
		crc ^= c
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0x8c
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
